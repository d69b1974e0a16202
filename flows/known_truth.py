"""Measure readers on items whose truth is known, and say who passed which qualification set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from configs.errors import UsageError
from configs.metrics import load_metric_settings
from flows.tables import print_line, print_table
from model.agreement import Overlap, compare_masks
from storage.blind_items import Key
from storage.known_truth import KnownItem, known_items, readers_of_sets
from storage.label_crops import paired_crops
from storage.labels import LabelMask
from storage.objects import ObjectStore
from storage.qualification import QualificationSet, qualification_sets
from storage.store import Store

Outcome = Literal["qualified", "not qualified", "not finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTruthResult:
    """One item that a reader judged against a truth that he was not told.

    Attributes:
        verdict: What the reader said.
        dsc: Of the reader's label with the truth; None where both say absent, or without a label.
        shown_dsc: Of the mask that the reader was shown; None where both are empty.
        is_absent_right: Both say that it is absent.
        truth: The label source that the truth came from.
    """

    reader: str
    case_id: str
    structure: str
    verdict: str
    dsc: float | None
    shown_dsc: float | None
    is_absent_right: bool
    truth: str
    set_name: str | None
    active_s: float

    def passes(self, least_dsc: float) -> bool:
        """Whether the reader was right: near enough, rightly absent, or rightly rejected."""
        if self.verdict == "reject":
            return self.shown_dsc is not None and self.shown_dsc < least_dsc
        return self.is_absent_right or (self.dsc is not None and self.dsc >= least_dsc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualification:
    """How a reader did on a set.

    Attributes:
        items: Of the set.
        judged: By this reader, blind.
        passed: Of those judged.
    """

    set_name: str
    reader: str
    truth: str
    items: int
    judged: int
    passed: int
    least_dsc: float
    least_share: float

    @property
    def outcome(self) -> Outcome:
        """The result; an item that was not judged is not passed."""
        if self.judged < self.items:
            return "not finished"
        return "qualified" if self.passed >= self.least_share * self.items else "not qualified"


def known_truth_results(store: Store, *, reader: str | None = None) -> list[KnownTruthResult]:
    """Compare what readers said of items with the truth, in the order of their verdicts.

    Raises:
        UsageError: A truth's source is gone.
    """
    with store.read() as connection:
        found = known_items(connection, reader=reader)
    return [_result(store.objects, known) for known in found]


def qualifications(
    store: Store, name: str | None = None, *, reader: str | None = None
) -> list[Qualification]:
    """Return how each reader did on each set that was assigned, or on one set.

    Raises:
        UsageError: There is no such set.
    """
    with store.read() as connection:
        sets = qualification_sets(store, connection)
        readers = readers_of_sets(connection)
    wanted = [one for one in sets if name in (None, one.name)]
    if name is not None and not wanted:
        known = ", ".join(one.name for one in sets) or "none"
        raise UsageError(f"there is no qualification set {name!r}; known are {known}")
    results = known_truth_results(store, reader=reader)
    return [
        _qualification(one, who, results)
        for one in wanted
        for who in readers.get(one.name, [])
        if reader in (None, who)
    ]


def print_known_truth(results: Sequence[KnownTruthResult]) -> None:
    """Print each reader against the truth: how often right about presence, and how near."""
    rows = []
    for reader in sorted({one.reader for one in results}):
        own = [one for one in results if one.reader == reader]
        dsc = [one.dsc for one in own if one.dsc is not None]
        shown = [one.shown_dsc for one in own if one.shown_dsc is not None]
        rows.append(
            (
                reader,
                len(own),
                sum(one.is_absent_right for one in own),
                sum(one.verdict == "reject" for one in own),
                sum(dsc) / len(dsc) if dsc else None,
                len(dsc),
                sum(shown) / len(shown) if shown else None,
            )
        )
    columns = ["reader", "items", "both absent", "rejected", "mean DSC", "of", "mean DSC shown"]
    print_table("Readers against known truths", columns, rows)
    print_line(
        "DSC of the reader's label with the truth; readers started from the AI's mask, whose own "
        "DSC with the truth is the last column. No accuracy of an independent reading."
    )


def print_qualifications(rows: Sequence[Qualification]) -> None:
    """Print who passed what."""
    cells = [
        (
            one.set_name,
            one.reader,
            one.truth,
            f"{one.judged} of {one.items}",
            one.passed,
            f"DSC {one.least_dsc:g} in {one.least_share:.0%}",
            one.outcome,
        )
        for one in rows
    ]
    columns = ["set", "reader", "truth", "judged", "passed", "needed", "result"]
    print_table("Qualification", columns, cells)


def _qualification(
    one: QualificationSet, reader: str, results: Sequence[KnownTruthResult]
) -> Qualification:
    """Judge by the reader's first answer to each item of the set."""
    first: dict[Key, KnownTruthResult] = {}
    for result in results:
        if result.reader == reader and result.set_name == one.name:
            first.setdefault((result.case_id, result.structure), result)
    judged = [first[key] for key in one.items if key in first]
    return Qualification(
        set_name=one.name,
        reader=reader,
        truth=one.truth,
        items=len(one.items),
        judged=len(judged),
        passed=sum(result.passes(one.least_dsc) for result in judged),
        least_dsc=one.least_dsc,
        least_share=one.least_share,
    )


def _result(objects: ObjectStore, known: KnownItem) -> KnownTruthResult:
    own = None if known.own is None else _overlap(objects, known, known.own)
    item = known.item
    return KnownTruthResult(
        reader=item.reader,
        case_id=item.case_id,
        structure=item.structure,
        verdict=item.verdict,
        dsc=None if own is None else own.dsc,
        shown_dsc=_overlap(objects, known, known.shown).dsc,
        is_absent_right=own is not None and own.dsc is None,
        truth=item.truth or "",
        set_name=item.set_name,
        active_s=item.active_s,
    )


def _overlap(objects: ObjectStore, known: KnownItem, tested: LabelMask) -> Overlap:
    masks = paired_crops(objects, tested, known.truth, known.grid.ras_shape)
    tolerance_mm = load_metric_settings()[known.item.structure].mm
    return compare_masks(*masks, spacing_mm=known.grid.ras_spacing_mm, tolerance_mm=tolerance_mm)
