"""The labels of a committee whose truth a source tells, with their DSC."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from configs.errors import StorageError, UsageError
from flows.triage import table_of
from model.metrics import dice
from model.triage.evaluation import KnownLabels
from model.triage.score_table import ScoreTable
from storage.grid import Grid
from storage.label_crops import case_grids, paired_crops
from storage.label_sources import (
    Connection,
    Key,
    LabelSource,
    SourceLabel,
    labels_of,
    list_sources,
)
from storage.labels import ABSENT, LabelMask
from storage.mask_overlaps import Pair, keep_overlaps, known_overlaps
from storage.score_columns import ScoreColumns, score_columns
from storage.splits import case_groups
from storage.store import Store
from storage.training_exposure import maybe_trained_on

_LOG = logging.getLogger(__name__)
_NOTHING = (
    "committee {} annotated no case; run `atlasloop annotate`, or name with --committee one of "
    "those that did: {}"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrueLabels:
    """N labels with a truth, of a committee's M.

    Attributes:
        columns: Scores of all M.
        table: The same as triage sees them; patients are numbered as the index groups them.
        places: Of those with a truth among them, shape (N,).
        known: Those, with their DSC.
        trained: Cases with a truth that were left out, since a member may have learned from them.
        saw_ai: Labels that were left out, since their reader had seen the AI's mask.
    """

    columns: ScoreColumns
    table: ScoreTable
    places: npt.NDArray[np.intp]
    known: KnownLabels
    trained: int
    saw_ai: int


def true_labels(
    store: Store, committee_id: str, source: LabelSource, *, trained_too: bool = False
) -> TrueLabels:
    """Compare a committee's labels with a source that never saw them.

    Masks are decoded once; the DSC of a pair is kept. A damaged mask is named in the log and left
    out, and so is what no member covers.

    Args:
        store: The workspace; not to be called while its index is open.
        committee_id: One version of the committee.
        source: A dataset, or the independent readings of a reader.
        trained_too: Keep the cases that a member may have been trained on.

    Raises:
        UsageError: The committee annotated nothing, or the source is none of these or says nothing
            of a case that is left.
        StorageError: The index cannot be read or written.
    """
    _check_source(source)
    with store.read() as connection:
        columns = score_columns(connection, committee_id)
        if not len(columns):
            others = ", ".join(_others(connection)) or "none"
            raise UsageError(_NOTHING.format(committee_id, others))
        told = labels_of(connection, source).labels
        trained = (
            set() if trained_too else maybe_trained_on(connection, store.objects, committee_id)
        )
        groups = case_groups(connection)
        ours = labels_of(connection, LabelSource(kind="committee", name=committee_id)).labels
        overlaps = known_overlaps(connection)
        wanted = {key: one for key, one in told.items() if key in ours}
        grids = case_grids(connection, {case_id for case_id, _ in wanted})
    blind = {key: one for key, one in wanted.items() if not one.saw_ai}
    usable = {key: one.mask for key, one in blind.items() if key[0] not in trained}
    left_out = {case_id for case_id, _ in blind if case_id in trained}
    _check_some(usable, source, committee_id, trained=len(left_out))
    new = [key for key in usable if _needs_decoding(_pair(ours, usable, key), overlaps)]
    computed = _decoded(store, new, ours, usable, grids)
    keep_overlaps(store, computed)
    table = _grouped(table_of(columns), groups)
    places, known = _known(table, ours, usable, {**overlaps, **computed})
    return TrueLabels(
        columns=columns,
        table=table,
        places=places,
        known=known,
        trained=len(left_out),
        saw_ai=len(wanted) - len(blind),
    )


def _others(connection: Connection) -> list[str]:
    """Return the committees that annotated something."""
    models = [one.source for one in list_sources(connection) if one.source.kind == "committee"]
    return [one.name for one in models if one.name]


def _check_source(source: LabelSource) -> None:
    if source.kind == "dataset" or (source.kind == "reader" and source.reading):
        return
    raise UsageError(
        "a truth never saw the AI's masks: it is dataset:NAME or reader:NAME/independent, got "
        f"{source}"
    )


def _check_some(
    usable: Collection[Key], source: LabelSource, committee_id: str, *, trained: int
) -> None:
    if usable:
        return
    if trained:
        raise UsageError(
            f"a member of the committee may have been trained on each of the {trained} annotated "
            f"cases that {source} tells of; --trained-too keeps them, and flatters the figures"
        )
    raise UsageError(
        f"{source} says nothing, without having seen the AI's mask, of a case that committee "
        f"{committee_id} annotated"
    )


def _pair(ours: Mapping[Key, SourceLabel], truth: Mapping[Key, LabelMask], key: Key) -> Pair:
    return (str(ours[key].mask.object), str(truth[key].object))


def _needs_decoding(pair: Pair, known: Mapping[Pair, float]) -> bool:
    none = str(ABSENT.object)
    return none not in pair and pair[0] != pair[1] and pair not in known


def _decoded(
    store: Store,
    keys: Sequence[Key],
    ours: Mapping[Key, SourceLabel],
    truth: Mapping[Key, LabelMask],
    grids: Mapping[str, Grid],
) -> dict[Pair, float]:
    found: dict[Pair, float] = {}
    for key in keys:
        case_id, structure = key
        try:
            crops = paired_crops(
                store.objects, ours[key].mask, truth[key], grids[case_id].ras_shape
            )
        except StorageError as error:
            _LOG.warning("%s of %s is not compared: %s", structure, case_id, error)
            continue
        value = dice(*crops)
        if isinstance(value, float):
            found[_pair(ours, truth, key)] = value
    return found


def _grouped(table: ScoreTable, groups: Mapping[str, int]) -> ScoreTable:
    numbers = np.array([groups[case_id] for case_id in table.case_ids], np.int32)
    return replace(table, patient=numbers[table.case])


def _known(
    table: ScoreTable,
    ours: Mapping[Key, SourceLabel],
    truth: Mapping[Key, LabelMask],
    overlaps: Mapping[Pair, float],
) -> tuple[npt.NDArray[np.intp], KnownLabels]:
    """Return the places of the labels that could be compared, and what came out."""
    places: list[int] = []
    values: list[float] = []
    present: list[bool] = []
    codes = zip(table.case.tolist(), table.structure.tolist(), strict=True)
    for place, (case, structure) in enumerate(codes):
        key = (table.case_ids[case], table.structures[structure])
        if key not in truth:
            continue
        is_there = truth[key].object is not None
        value = _value(_pair(ours, truth, key), overlaps) if is_there else np.nan
        if value is None:
            continue
        places.append(place)
        values.append(value)
        present.append(is_there)
    where = np.array(places, np.intp)
    known = KnownLabels(table.rows(where), np.array(values), np.array(present, np.bool_))
    return where, known


def _value(pair: Pair, overlaps: Mapping[Pair, float]) -> float | None:
    """Return the DSC with a truth that is there; None where a mask is damaged."""
    if pair[0] == pair[1]:
        return 1.0
    return 0.0 if pair[0] == str(ABSENT.object) else overlaps.get(pair)
