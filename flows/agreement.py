"""Compare label sources on their common cases, one structure's crop at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from configs.errors import UsageError
from configs.metrics import load_metric_settings
from configs.taxonomy import load_taxonomy
from flows.progress import Advance, silent
from model.agreement import CaseAgreement, Kind, compare_masks, comparison_kind
from model.agreement_report import KindAgreement, agreement_report
from model.lesion_detection import match_lesions
from storage.cases import all_cases
from storage.grid import Grid
from storage.label_crops import case_grids, paired_crops
from storage.label_sources import (
    Key,
    LabelSource,
    SourceLabel,
    SourceLabels,
    labels_of,
    parse_source,
)
from storage.objects import ObjectStore
from storage.splits import Role, effective_roles
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A label that one side has made and that cannot be compared."""

    case_id: str
    structure: str
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Cases of one structure that only one of the two sources looked at."""

    structure: str
    only_tested: int
    only_reference: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAgreement:
    """Two sources compared.

    Attributes:
        tested: Whose lesions are counted as found or false; of a model and a person, the model.
        reference: Whose lesions are looked for.
        seed: Of the intervals' draws.
        blocks: Figures, apart by kind.
        excluded: What could not be compared, and why.
        missing: What only one of them looked at.
        notes: What a reader of the figures must know.
        cases: Every comparison.
    """

    tested: str
    reference: str
    seed: int
    blocks: tuple[KindAgreement, ...]
    excluded: tuple[Exclusion, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]
    cases: tuple[CaseAgreement, ...]


def agreement(
    store: Store,
    sources: Sequence[str],
    *,
    structures: Sequence[str] = (),
    role: Role | None = None,
    seed: int = 0,
    advance: Advance = silent,
) -> list[PairAgreement]:
    """Compare every two of some label sources.

    Labels are read once, under the lock; masks afterwards, and at most two crops are in memory.

    Args:
        store: The workspace.
        sources: Two or more label sources.
        structures: Only these; all that both sides looked at when empty.
        role: Only patients of this role, such as those that no model trains on.
        seed: Of the intervals' draws.
        advance: Told about progress.

    Raises:
        UsageError: A source is unknown or named twice, or two sources share no case.
    """
    wanted = load_taxonomy().select(structures) or load_taxonomy().names
    parsed = [parse_source(text) for text in sources]
    if len(parsed) < 2 or len(set(parsed)) < len(parsed):
        raise UsageError(
            f"agreement is between two or more different sources, got {', '.join(sources)}"
        )
    with store.read() as connection:
        patients = {case.case_id: case.patient_id for case in all_cases(connection)}
        roles = effective_roles(connection)
        cases = [name for name, who in patients.items() if role in (None, roles.get(who))]
        found = {
            source: _only(labels_of(connection, source), set(cases), wanted) for source in parsed
        }
        cohort = _Cohort(store.objects, patients, roles, case_grids(connection, cases))
    pairs = [_Pair.of(found[a], found[b]) for a, b in combinations(parsed, 2)]
    total, done = sum(len(pair.common) for pair in pairs), 0
    results = []
    for pair in pairs:
        compared = []
        for key in pair.common:
            compared.append(_compare(pair, key, cohort))
            done += 1
            advance(done, total)
        results.append(_result(pair, compared, seed=seed))
    return results


@dataclass(frozen=True, slots=True)
class _Cohort:
    """What a comparison needs besides the labels: where masks lie, whose they are, their grid."""

    objects: ObjectStore
    patients: Mapping[str, str]
    roles: Mapping[str, Role]
    grids: Mapping[str, Grid]


@dataclass(frozen=True, slots=True)
class _Pair:
    tested: SourceLabels
    reference: SourceLabels
    common: tuple[Key, ...]

    @classmethod
    def of(cls, first: SourceLabels, second: SourceLabels) -> _Pair:
        """Put the model, or else the source that is no dataset, on the tested side."""
        swap = _rank(second.source) < _rank(first.source)
        tested, reference = (second, first) if swap else (first, second)
        common = tuple(sorted(tested.labels.keys() & reference.labels.keys()))
        looked = [side.labels.keys() | side.left_out.keys() for side in (tested, reference)]
        if not looked[0] & looked[1]:
            raise UsageError(
                "two sources must have looked at the same structure of one case at least; "
                f"{_holdings(first)}; {_holdings(second)}"
            )
        return cls(tested, reference, common)


def _rank(source: LabelSource) -> int:
    if source.is_model:
        return 0
    return 2 if source.kind == "dataset" else 1


def _holdings(labels: SourceLabels) -> str:
    structures = Counter(structure for _, structure in labels.labels)
    cases = sorted({case_id for case_id, _ in labels.labels})
    if not cases:
        return f"{labels.source} has none of what is asked for"
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(structures.items())[:8])
    more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
    return f"{labels.source} has {listed} in {', '.join(cases[:5])}{more}"


def _only(
    labels: SourceLabels, cases: Collection[str], structures: Collection[str]
) -> SourceLabels:
    def wanted(key: Key) -> bool:
        return key[0] in cases and key[1] in structures

    return SourceLabels(
        labels.source,
        {key: label for key, label in labels.labels.items() if wanted(key)},
        {key: why for key, why in labels.left_out.items() if wanted(key)},
    )


def _compare(pair: _Pair, key: Key, cohort: _Cohort) -> CaseAgreement:
    case_id, structure = key
    patient_id = cohort.patients[case_id]
    tested, reference = pair.tested.labels[key], pair.reference.labels[key]
    grid = cohort.grids[case_id]
    spacing_mm = grid.ras_spacing_mm
    masks = paired_crops(cohort.objects, tested.mask, reference.mask, grid.ras_shape)
    lesion = load_taxonomy()[structure].is_lesion
    return CaseAgreement(
        case_id=case_id,
        patient_id=patient_id,
        role=cohort.roles.get(patient_id),
        structure=structure,
        kind=comparison_kind(tested.origin, reference.origin),
        overlap=compare_masks(
            *masks,
            spacing_mm=spacing_mm,
            tolerance_mm=load_metric_settings()[structure].mm,
        ),
        tested_present=bool(masks[0].any()),
        reference_present=bool(masks[1].any()),
        lesions=match_lesions(*masks, spacing_mm=spacing_mm) if lesion else None,
        other_base=_from_another_prediction(tested, reference),
    )


def _from_another_prediction(tested: SourceLabel, reference: SourceLabel) -> bool:
    """Whether a review's mask was not made from the very prediction that it is compared with."""
    return (
        tested.origin == "ai"
        and reference.origin == "edit"
        and not reference.saw_ai
        and reference.base != tested.label_id
    )


def _result(pair: _Pair, cases: Sequence[CaseAgreement], *, seed: int) -> PairAgreement:
    return PairAgreement(
        tested=str(pair.tested.source),
        reference=str(pair.reference.source),
        seed=seed,
        blocks=agreement_report(cases, seed=seed, order=load_taxonomy().names),
        excluded=tuple(_exclusions(pair)),
        missing=tuple(_missing(pair)),
        notes=tuple(_notes(pair, cases)),
        cases=tuple(cases),
    )


def _exclusions(pair: _Pair) -> list[Exclusion]:
    """Return what one side did, but not so that it can be compared; the other looked at it too."""
    sides = ((pair.tested, pair.reference), (pair.reference, pair.tested))
    return [
        Exclusion(*key, str(side.source), str(why))
        for side, other in sides
        for key, why in sorted(side.left_out.items())
        if key in other.labels or key in other.left_out
    ]


def _missing(pair: _Pair) -> list[Missing]:
    """Count, by structure, what one side looked at and the other did not; exclusions apart."""
    tested = pair.tested.labels.keys() | pair.tested.left_out.keys()
    reference = pair.reference.labels.keys() | pair.reference.left_out.keys()
    only_tested = Counter(structure for _, structure in tested - reference)
    only_reference = Counter(structure for _, structure in reference - tested)
    return [
        Missing(name, only_tested[name], only_reference[name])
        for name in load_taxonomy().names
        if only_tested[name] or only_reference[name]
    ]


def _notes(pair: _Pair, cases: Sequence[CaseAgreement]) -> list[str]:
    notes = []
    trained = sum(case.role == "train" for case in cases)
    if pair.tested.source.is_model and trained:
        notes.append(
            f"{trained} of {len(cases)} comparisons are on patients that models train on, which "
            "flatters a retrained one; --role report leaves them out"
        )
    other = sum(case.other_base for case in cases)
    if other:
        notes.append(
            f"{other} of {len(cases)} labels of {pair.reference.source} were made from another "
            f"prediction than the one of {pair.tested.source} compared here, which may have "
            "learned from them"
        )
    for side in (pair.tested, pair.reference):
        saw = sum(side.labels[key].saw_ai for key in pair.common)
        if saw:
            notes.append(
                f"{saw} of {len(cases)} readings of {side.source} are left out of independent_dsc "
                "and stand under edit_dsc: the reader had reviewed the AI's mask before"
            )
        makers = Counter(side.labels[key].maker for key in pair.common)
        if len(makers) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in sorted(makers.items()))
            notes.append(f"{side.source} is made of several committees: {listed}")
    return notes


def kinds_of(pairs: Sequence[PairAgreement]) -> list[Kind]:
    """Return the kinds of comparison that occur, each once, in the report's order."""
    return list(dict.fromkeys(block.kind for pair in pairs for block in pair.blocks))
