from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from configs.simulated_reader import ReaderSkill, load_reader_skill
from model.metrics import dice
from model.simulated_reader import outline

SPACING = (2.0, 2.0, 2.0)


def ball(radius_mm: float) -> np.ndarray:
    axes = np.meshgrid(*(np.arange(48) * 2.0 - 47 for _ in range(3)), indexing="ij")
    return sum(axis**2 for axis in axes) < radius_mm**2


def read(truth: np.ndarray, structure: str = "spleen", *, seed: int = 0, lesion: bool = False):
    return outline(
        truth,
        SPACING,
        structure,
        skill=load_reader_skill(),
        lesion=lesion,
        generator=np.random.default_rng(seed),
    )


def test_the_outline_is_close_to_the_truth_but_not_the_truth() -> None:
    truth = ball(30.0)

    score = dice(read(truth), truth)

    assert 0.9 < score < 1.0


def test_small_structures_are_read_less_alike_than_large_ones() -> None:
    large, small = ball(40.0), ball(10.0)

    def mean(truth: np.ndarray) -> float:
        return float(np.mean([dice(read(truth, seed=seed), truth) for seed in range(5)]))

    assert mean(small) < mean(large)


def test_two_readings_differ() -> None:
    truth = ball(30.0)

    assert (read(truth, seed=1) != read(truth, seed=2)).any()


def test_an_absent_structure_stays_absent() -> None:
    assert not read(np.zeros((8, 8, 8), bool)).any()


def test_some_lesions_are_missed_and_no_organ_is() -> None:
    truth = ball(12.0)

    lesions = [read(truth, "liver_tumor", seed=seed, lesion=True).any() for seed in range(60)]

    assert 0 < lesions.count(False) < 20
    assert all(read(truth, seed=seed).any() for seed in range(5))


def test_an_unknown_structure_is_refused() -> None:
    values = {**load_reader_skill().model_dump(), "structures": {"spleeen": 1.0}}

    with pytest.raises(ValidationError, match="spleeen"):
        ReaderSkill.model_validate(values)
