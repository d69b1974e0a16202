"""What people said of the labels of one committee, with the DSC that follows from it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from configs.errors import StorageError
from model.metrics import dice
from model.triage.score_table import Column
from storage.grid import Grid
from storage.label_crops import case_grids, paired_crops
from storage.mask_overlaps import Pair, keep_overlaps, known_overlaps
from storage.review_outcomes import (
    ReviewOutcome,
    review_outcomes,
    unaided_outcomes,
    unanswered_audits,
)
from storage.splits import case_groups
from storage.store import Store
from storage.training_exposure import maybe_trained_on

_LOG = logging.getLogger(__name__)

Target = Literal["edit_dsc", "independent_dsc"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadLabels:
    """What was said; cases that a member may have been trained on are left out.

    Attributes:
        reviews: With the AI's mask in sight.
        readings: Without.
        told: Those of the two that the target is about, and the audit's labels without an answer,
            which are bad by an unknown amount, as rejected ones are.
        dsc: Of each of ``told``, shape (N,). NaN where the structure is absent to both or where the
            label was rejected, which has no DSC.
        patients: Case id -> a number that cases share whose scans may be one patient's.
        trained: Cases that a member may have been trained on.
    """

    reviews: Sequence[ReviewOutcome]
    readings: Sequence[ReviewOutcome]
    told: Sequence[ReviewOutcome]
    dsc: Column
    patients: Mapping[str, int]
    trained: Collection[str] = ()


def read_labels(store: Store, committee_id: str, target: Target) -> ReadLabels:
    """Gather what was said of a committee's labels, by the index.

    Masks are decoded only where their DSC follows neither from the recorded change nor from an
    earlier call; then once, after the index is closed.

    Args:
        store: The workspace; not to be called while its index is open.
        committee_id: One version of the committee.
        target: What the DSC is of.

    Raises:
        StorageError: The index cannot be read or written.
    """
    with store.read() as connection:
        trained = maybe_trained_on(connection, store.objects, committee_id)
        reviews, readings = (
            [one for one in outcomes(connection, committee_id) if one.case_id not in trained]
            for outcomes in (review_outcomes, unaided_outcomes)
        )
        unaided = target == "independent_dsc"
        told = readings if unaided else reviews
        now = datetime.now(UTC).replace(tzinfo=None)
        told = _with_unanswered(
            told,
            [
                one
                for one in unanswered_audits(connection, committee_id, unaided=unaided, now=now)
                if one.case_id not in trained
            ],
        )
        known = known_overlaps(connection)
        new = [one for one in told if _needs_decoding(one) and _pair(one) not in known]
        grids = case_grids(connection, {one.case_id for one in new})
        patients = case_groups(connection)
    computed = _decoded(store, new, grids)
    keep_overlaps(store, computed)
    return ReadLabels(
        reviews=reviews,
        readings=readings,
        told=told,
        dsc=_dsc(told, {**known, **computed}),
        patients=patients,
        trained=frozenset(trained),
    )


def _with_unanswered(
    told: Sequence[ReviewOutcome], unanswered: Sequence[ReviewOutcome]
) -> list[ReviewOutcome]:
    known = {(one.case_id, one.structure) for one in told}
    return [*told, *(one for one in unanswered if (one.case_id, one.structure) not in known)]


def _pair(outcome: ReviewOutcome) -> Pair:
    read = outcome.read
    return (str(outcome.predicted.object), str(read and read.object))


def _needs_decoding(outcome: ReviewOutcome) -> bool:
    has_masks = outcome.predicted.object is not None and outcome.is_there is True
    return has_masks and outcome.counted_dsc is None


def _decoded(
    store: Store, outcomes: Sequence[ReviewOutcome], grids: Mapping[str, Grid]
) -> dict[Pair, float]:
    """Return the DSC of each pair of masks; a damaged one is left out and named in the log."""
    found: dict[Pair, float] = {}
    for one in outcomes:
        if one.read is None or _pair(one) in found:
            continue
        shape = grids[one.case_id].ras_shape
        try:
            value = dice(*paired_crops(store.objects, one.predicted, one.read, shape))
        except StorageError as error:
            _LOG.warning("%s of %s teaches triage nothing: %s", one.structure, one.case_id, error)
            continue
        if isinstance(value, float):
            found[_pair(one)] = value
    return found


def _dsc(outcomes: Sequence[ReviewOutcome], overlaps: Mapping[Pair, float]) -> Column:
    values: npt.NDArray[np.float64] = np.full(len(outcomes), np.nan)
    for place, one in enumerate(outcomes):
        counted = one.counted_dsc
        if counted is None and _needs_decoding(one):
            counted = overlaps.get(_pair(one))
        if counted is not None:
            values[place] = counted
    return values
