from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from configs.errors import UsageError
from configs.post_process import shipped_post_process
from configs.taxonomy import load_taxonomy
from model.annotate import AnnotateOptions, annotate_volume
from model.committee import CommitteeMember
from model.consensus import consensus_of
from model.inference_settings import InferenceSettings

CPU = torch.device("cpu")
NAMES = ("spleen", "liver", "stomach")


class Waves(nn.Module):
    """Structure q is where a smooth function of the intensity is high: soft, uneven borders."""

    def __init__(self, phase: float) -> None:
        super().__init__()
        self.phase = phase

    def forward(self, images, structure_index=None):
        numbers = torch.arange(len(NAMES)) if structure_index is None else structure_index
        shift = numbers[None, :, None, None, None] + self.phase
        return 3 * torch.sin(6 * images + shift) - 2


def member(name: str, phase: float, spacing_mm: float, family: str = "a") -> CommitteeMember:
    return CommitteeMember(
        name=name,
        family=family,
        network=Waves(phase).eval(),
        inference=InferenceSettings(spacing_mm=(spacing_mm,) * 3, patch=(16, 16, 16)),
        structures=NAMES,
    )


def volume() -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, 1, (6, 5, 4))
    smooth = np.kron(noise, np.ones((6, 6, 6)))
    return np.clip(50 + 120 * smooth, -150, 240).astype(np.int16)


def test_it_is_the_consensus_of_the_full_annotation() -> None:
    hu, spacing_mm = volume(), (1.1, 0.9, 2.3)
    members = [member("m1", 0.0, 2.0), member("m2", 0.8, 1.5), member("m3", 0.3, 2.0, "b")]
    options = AnnotateOptions()
    full = annotate_volume(
        hu, spacing_mm, members, taxonomy=load_taxonomy(), device=CPU, options=options
    )
    expected = {}
    for result in full:
        expected[result.structure] = np.zeros(hu.shape, bool)
        if result.box is not None:
            expected[result.structure][result.box.slices] = result.consensus

    found = consensus_of(hu, spacing_mm, members, structures=NAMES[:2], device=CPU, options=options)

    for result in found:
        placed = np.zeros(hu.shape, bool)
        assert result.box is not None
        placed[result.box.slices] = result.mask
        np.testing.assert_array_equal(placed, expected.pop(result.structure))
        assert placed.any()
    assert list(expected) == ["stomach"]


LEANING = (
    "kidney_right",
    "kidney_left",
    "liver",
    "portal_vein_and_splenic_vein",
    "pancreas",
    "kidney_tumor",
    "liver_tumor",
)


class Shifted(nn.Module):
    """Each structure is a wave of the intensity of its own."""

    def __init__(self, phase: float) -> None:
        super().__init__()
        self.phase = phase

    def forward(self, images, structure_index=None):
        numbers = torch.arange(len(LEANING)) if structure_index is None else structure_index
        shift = 0.7 * numbers[None, :, None, None, None] + self.phase
        return 3 * torch.sin(6 * images + shift) - 1.5


@pytest.mark.parametrize("asked", [LEANING, ("liver_tumor", "kidney_left"), ("kidney_tumor",)])
def test_with_rules_it_is_the_consensus_of_the_full_annotation_too(asked) -> None:
    hu, spacing_mm = volume(), (1.1, 0.9, 2.3)
    members = [
        dataclasses.replace(
            member(name, 0.0, 2.0, name), network=Shifted(phase).eval(), structures=LEANING
        )
        for name, phase in (("m1", 0.0), ("m2", 0.5))
    ]
    options = AnnotateOptions(rules=shipped_post_process())

    def drawn(results, mask_of):
        found = {}
        for result in results:
            found[result.structure] = np.zeros(hu.shape, bool)
            if result.box is not None:
                found[result.structure][result.box.slices] = mask_of(result)
        return found

    full = annotate_volume(
        hu, spacing_mm, members, taxonomy=load_taxonomy(), device=CPU, options=options
    )
    expected = drawn(full, lambda result: result.consensus)
    found = consensus_of(hu, spacing_mm, members, structures=asked, device=CPU, options=options)
    masks = drawn(found, lambda result: result.mask)

    assert set(masks) == set(asked)
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, expected[name])
    raw = annotate_volume(hu, spacing_mm, members, taxonomy=load_taxonomy(), device=CPU)
    unruled = drawn(raw, lambda result: result.consensus)
    assert any((unruled[name] != expected[name]).any() for name in asked)


def test_what_nobody_draws_is_empty_and_what_nobody_covers_is_left_out() -> None:
    air = np.full((20, 20, 20), -1000, np.int16)

    found = consensus_of(
        air,
        (1.0, 1.0, 1.0),
        [member("m1", 0.0, 1.0)],
        structures=("spleen", "aorta"),
        device=CPU,
        options=AnnotateOptions(),
    )

    assert [(one.structure, one.box, one.mask) for one in found] == [("spleen", None, None)]


def test_a_volume_of_another_type_is_refused() -> None:
    with pytest.raises(UsageError, match="int16"):
        list(
            consensus_of(
                np.zeros((4, 4, 4), np.float32),  # type: ignore[arg-type]
                (1.0, 1.0, 1.0),
                [member("m1", 0.0, 1.0)],
                structures=NAMES,
                device=CPU,
                options=AnnotateOptions(),
            )
        )
