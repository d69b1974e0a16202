from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from model.build_backbone import build_backbone
from model.inference_settings import InferenceSettings
from model.memory_fault import is_out_of_memory
from model.training_memory import (
    MemoryEstimator,
    advice,
    kept_for_backward,
    smaller_settings,
)
from model.training_settings import TrainingSettings

SETTINGS = TrainingSettings(
    backbone_options={"widths": (8, 16), "out_channels": 8},
    inference=InferenceSettings(patch=(32, 32, 32)),
    batch_size=4,
    autocast=None,
)


def test_what_is_kept_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv3d(1, 2, 3, padding=1, bias=False), nn.ReLU(), nn.Conv3d(2, 1, 1, bias=False)
    )

    kept = kept_for_backward(network.to("meta"), (4, 4, 4))

    # The image for the first convolution, two channels for the ReLU and the last one: 3 x 64 x 4.
    assert kept.everything == 3 * 64 * 4


def test_the_estimate_is_what_autograd_really_holds() -> None:
    backbone = build_backbone("small_unet", **SETTINGS.backbone_options)
    weights = {weight.data_ptr() for weight in backbone.parameters()}
    held: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        features = backbone(torch.rand(1, 1, 32, 32, 32))
    assert features.dec.shape[1] == 8
    measured = sum(tensor.untyped_storage().nbytes() for tensor in held.values())

    assert kept_for_backward(backbone.to("meta"), (32, 32, 32)).everything == pytest.approx(
        measured, rel=0.02
    )


def test_every_change_that_is_proposed_takes_less() -> None:
    estimator = MemoryEstimator(SETTINGS)
    plans = [SETTINGS, *smaller_settings(SETTINGS, estimator.stride)]

    sizes = [estimator.estimate(plan).total_bytes for plan in plans]

    assert len(plans) == 7
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    # Patches a step stay as they are while only batches shrink.
    assert {plan.batch_size * plan.accumulation for plan in plans} == {4}


def test_weights_gradients_moments_and_mean_are_counted() -> None:
    estimator = MemoryEstimator(SETTINGS)
    backbone = build_backbone("small_unet", **SETTINGS.backbone_options)
    weights = sum(weight.numel() for weight in backbone.parameters())

    plain = estimator.estimate(SETTINGS).weight_bytes
    averaged = estimator.estimate(replace(SETTINGS, average_decay=0.9)).weight_bytes

    assert (plain, averaged) == (16 * weights, 20 * weights)


def test_the_advice_marks_what_fits() -> None:
    estimator = MemoryEstimator(SETTINGS)
    last = smaller_settings(SETTINGS, estimator.stride)[-1]

    lines = advice(SETTINGS, estimator.estimate(last).total_bytes).splitlines()

    assert [line.endswith("- fits") for line in lines[2:]] == [False] * 5 + [True]
    assert "batch 1, accumulation 4, patch 16x16x16, bfloat16" in lines[-1]


def test_errors_of_full_memory_are_told_from_others() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 52)

    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
