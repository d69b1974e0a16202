"""What is tried where memory is short or numbers overflow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from configs.errors import CaseError, Reason
from model import precision
from model.committee import CommitteeMember
from model.inference_settings import InferenceSettings
from model.network_options import NetworkOptions, Precision
from model.working_prediction import predict_members

CPU = torch.device("cpu")
SPACING_MM = (1.0, 1.0, 1.0)


class Plain(nn.Module):
    """The liver is where it is bright."""

    def forward(self, images: torch.Tensor, structure_index: object = None) -> torch.Tensor:
        return (images - 0.5) * 20


class Hungry(Plain):
    """Has memory for so many windows."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, images: torch.Tensor, structure_index: object = None) -> torch.Tensor:
        if images.shape[0] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


class Overflowing(Plain):
    """Multiplies to more than float16 holds, and back."""

    def forward(self, images: torch.Tensor, structure_index: object = None) -> torch.Tensor:
        ones = torch.ones(1, 1, 1, 1, 1)
        large = nn.functional.conv3d(images - 0.5, ones * 3e5)
        return nn.functional.conv3d(large, ones / 3e5) * 20


def voter(network: nn.Module) -> CommitteeMember:
    return CommitteeMember(
        name="m",
        family="f",
        network=network.eval(),
        inference=InferenceSettings(spacing_mm=SPACING_MM, patch=(8, 8, 8)),
        structures=("liver",),
    )


def volume() -> np.ndarray:
    hu = np.full((16, 16, 12), -1000, np.int16)
    hu[2:14, 2:14] = 0
    hu[4:10, 4:10, 3:9] = 150
    return hu


def predict(network: nn.Module, **options):
    (prediction,) = predict_members(
        volume(),
        SPACING_MM,
        [voter(network)],
        structures=("liver",),
        device=CPU,
        options=NetworkOptions(**options),
    )
    return prediction


def test_fewer_windows_at_once_where_memory_is_short():
    plenty = predict(Plain(), batch_size=8)

    short = predict(Hungry(2), batch_size=8)

    np.testing.assert_array_equal(short.probabilities, plenty.probabilities)
    assert plenty.fallbacks == ()
    assert short.fallbacks == (
        "m: 4 windows at once, float32, sums on the device",
        "m: 2 windows at once, float32, sums on the device",
    )


def test_a_case_that_never_fits_says_so():
    with pytest.raises(CaseError, match="does not fit into memory") as caught:
        predict(Hungry(0), batch_size=2)

    assert caught.value.reason is Reason.OUT_OF_MEMORY


def test_on_a_gpu_the_sums_go_to_the_host_at_last():
    tried, options = [], NetworkOptions(batch_size=4)
    while (less := options.with_less_memory(torch.device("cuda"))) is not None:
        tried.append((less.batch_size, less.host_sums))
        options = less

    assert tried == [(2, False), (1, False), (1, True)]


def test_what_float16_overflows_is_computed_in_float32():
    exact = predict(Overflowing())

    reduced = predict(Overflowing(), precision="float16")

    np.testing.assert_array_equal(reduced.probabilities, exact.probabilities)
    assert reduced.fallbacks == ("m: 1 windows at once, float32, sums on the device",)


def test_logits_that_are_not_finite_in_float32_are_an_error():
    class Broken(Plain):
        def forward(self, images: torch.Tensor, structure_index: object = None) -> torch.Tensor:
            return images * float("nan")

    with pytest.raises(CaseError, match="must be finite"):
        predict(Broken(), precision="bfloat16")


def test_precision_is_compared_round_the_centre_of_the_body():
    """Two boxes of unlike size: the mean of their middles, weighed by their voxels."""
    body = np.zeros((40, 30, 20), bool)
    body[2:6, 3:9, 1:5] = body[20:38, 10:26, 6:18] = True
    small, large = 4 * 6 * 4, 18 * 16 * 12
    middles = ((3.5, 28.5), (5.5, 17.5), (2.5, 11.5))
    expected = [(small * a + large * b) / (small + large) for a, b in middles]

    assert precision.centre_of(body) == pytest.approx(expected)
    assert precision.centre_of(np.zeros((4, 4, 4), bool)) == (0.0, 0.0, 0.0)


def test_how_much_a_reduced_precision_decides_otherwise():
    def share(network: nn.Module, reduced: Precision) -> float:
        return precision.differing_share(
            voter(network), volume(), SPACING_MM, precision=reduced, device=CPU
        )

    class Shifted(Plain):
        """Under autocast to bfloat16 one voxel in the body is decided otherwise."""

        def forward(self, images: torch.Tensor, structure_index: object = None) -> torch.Tensor:
            logits = super().forward(images)
            if torch.is_autocast_enabled("cpu"):
                logits[0, 0, 4, 4, 4] *= -1
            return logits

    foreground = 8**3 - int((volume()[4:12, 4:12, 2:10] < 37.5).sum())
    assert share(Plain(), "bfloat16") == 0
    assert share(Shifted(), "bfloat16") == pytest.approx(1 / foreground)
    assert share(Overflowing(), "float16") == float("inf")
