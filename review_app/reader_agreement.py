"""How well two readers agree on what both drew without seeing the AI's mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from model.metrics import Agreement, dice
from storage.label_crops import paired_crops
from storage.objects import ObjectStore
from storage.shared_readings import SharedReading

FEWEST = 5
"""Shared items from which a mean is told."""


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two readers on one structure, or on all they share (empty name).

    Attributes:
        items: What both drew.
        both_absent: Of these, what both say is absent; in no mean.
        one_absent: What one of them says is absent; counts 0.
        mean_dsc: None where fewer than five items have one.
    """

    first: str
    second: str
    structure: str
    items: int
    both_absent: int
    one_absent: int
    mean_dsc: float | None


def agreement_of(objects: ObjectStore, shared: Sequence[SharedReading]) -> list[PairAgreement]:
    """Return the agreement of every two readers, structure by structure; Dice on the native grid.

    Raises:
        StorageError: A mask is missing or damaged.
    """
    values: dict[tuple[str, str, str], list[float | Agreement]] = {}
    for one in shared:
        masks = paired_crops(objects, one.first_mask, one.second_mask, one.grid.ras_shape)
        values.setdefault((one.first, one.second, one.structure), []).append(dice(*masks))
    return [_pair(*key, found) for key, found in values.items()]


def agreement_words(pair: PairAgreement) -> str:
    """Return the mean, or that there are too few."""
    counted = pair.items - pair.both_absent
    if pair.mean_dsc is None:
        return f"too few to say ({counted})"
    return f"{pair.mean_dsc:.3f} (n = {counted})"


def _pair(
    first: str, second: str, structure: str, found: Sequence[float | Agreement]
) -> PairAgreement:
    numbers = [value for value in found if isinstance(value, float)]
    return PairAgreement(
        first,
        second,
        structure,
        items=len(found),
        both_absent=len(found) - len(numbers),
        one_absent=sum(value == 0.0 for value in numbers),
        mean_dsc=mean(numbers) if len(numbers) >= FEWEST else None,
    )
