"""Scores of labels whose DSC is known, drawn from a simple law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from model.triage.score_table import ScoreTable, score_table

MEAN_ERROR = np.array([0.03, 0.05, 0.15, 0.2])
STRUCTURES = ("liver", "spleen", "duodenum", "celiac_trunk")


@dataclass(frozen=True, slots=True)
class ReadLabels:
    """A table and the DSC of each of its labels."""

    table: ScoreTable
    dsc: npt.NDArray[np.float64]


def _read_labels(*, patients: int, each: int = 3, seed: int = 0, gross: float = 0.1) -> ReadLabels:
    """Draw labels whose members disagree as much as they err, give or take a third."""
    rng = np.random.default_rng(seed)
    rows = patients * each
    patient = np.repeat(np.arange(patients), each)
    structure = rng.integers(0, len(STRUCTURES), rows)
    error = MEAN_ERROR[structure] * np.exp(np.repeat(rng.normal(0, 0.4, patients), each))
    error = np.where(rng.random(rows) < gross, rng.uniform(0.2, 0.9, rows), error)
    seen = error * np.exp(rng.normal(0, 0.3, rows))
    scores = {
        "pairwise_dice": np.clip(1 - seen, 0, 1),
        "self_consistency": np.clip(0.98 - 0.3 * seen * np.exp(rng.normal(0, 0.5, rows)), 0, 1),
        "entropy_mean": 0.3 + 0.2 * rng.random(rows),
        "volume_ml": np.exp(rng.normal(4, 0.5, rows)),
        "max_probability": np.full(rows, 0.99),
        "covering_members": np.full(rows, 3.0),
        "seeing_members": np.full(rows, 3.0),
    }
    table = score_table(
        case_ids=[f"c-{number}" for number in range(patients)],
        structures=STRUCTURES,
        case=patient.astype(np.int32),
        patient=patient.astype(np.int32),
        structure=structure.astype(np.int32),
        scores=scores,
    )
    return ReadLabels(table, np.clip(1 - error, 0, 1))


@pytest.fixture
def read_labels() -> Callable[..., ReadLabels]:
    """A maker of ``ReadLabels``: ``read_labels(patients=40, each=3, seed=0, gross=0.1)``."""
    return _read_labels


@pytest.fixture
def make_table() -> Callable[..., ScoreTable]:
    """A maker of tables of one structure, a patient a row: ``make_table(pairwise_dice=[...])``."""

    def make(*, structures=("liver",), structure=None, **scores) -> ScoreTable:
        rows = len(next(iter(scores.values())))
        numbers = np.arange(rows, dtype=np.int32)
        return score_table(
            case_ids=[f"c-{number}" for number in numbers],
            structures=structures,
            case=numbers,
            patient=numbers,
            structure=np.zeros(rows, np.int32) if structure is None else np.array(structure),
            scores={name: np.array(column, np.float64) for name, column in scores.items()},
        )

    return make
