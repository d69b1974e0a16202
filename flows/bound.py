"""Saying how many of a release's labels that nobody reviewed can be bad at most."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from configs.errors import StorageError, UsageError
from configs.taxonomy import load_taxonomy
from flows.frame_states import LabelsRead, Way, unit_states
from flows.label_overlap import LabelOverlap
from model.acceptance import (
    Remainder,
    Sample,
    TimeUniformBound,
    UnitState,
    answered_prefix,
    most_bad,
    needed,
)
from storage.audit_answers import (
    FramedLabel,
    UnitKey,
    framed_labels,
    readings_of,
    reviews_of,
    touched_labels,
)
from storage.audit_draws import audit_seed
from storage.canonical_json import JsonObject, sha256_hex, to_bytes
from storage.cases import all_cases
from storage.readers import Actor
from storage.release_bounds import ReleaseBound, bounds_of, record_bound
from storage.releases import Release, read_release
from storage.store import Store

Method = Literal["fixed", "time_uniform"]
KIND: Mapping[Way, str] = {"aided": "edit_dsc", "unaided": "independent_dsc"}
ERROR_SHARE: Mapping[Method, float] = {"fixed": 0.8, "time_uniform": 0.2}
"""How the first evaluation and all later ones of the same labels share 1 - confidence, so that they
hold together."""
SHARES = (0.05, 0.01)
"""For which the number of draws is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRow:
    """What can be said of one structure, or of all; units are patients, one a structure.

    Attributes:
        structure: Its name, or ``all``.
        unreviewed: Units of the release with a label that nobody judged.
        uncovered: Of these, units that the audit could not draw; they count as bad.
        frame: Units that the audit draws from, those that were judged since included.
        read: Units at the head of the random order that were judged without a gap.
        bad: Bad ones among them; those without an answer count.
        unsure: How many have no answer.
        beyond: Units judged behind the gap; they do not count.
        at_most: Unreviewed units that may be bad: for this row alone, at the stated confidence.
        share: The same as a share.
        share_together: The share at which all structures hold at once; None for ``all``.
        needed: For each of ``SHARES``, draws without a bad one that would support it.
    """

    structure: str
    unreviewed: int
    uncovered: int
    frame: int
    read: int
    bad: int
    unsure: int
    beyond: int
    at_most: int
    share: float
    share_together: float | None
    needed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindBound:
    """One way of reading: ``edit_dsc`` with the AI's mask in sight, or ``independent_dsc``."""

    kind: str
    overall: BoundRow
    structures: tuple[BoundRow, ...]

    @property
    def has_readings(self) -> bool:
        """Whether anything was judged from the head of a random order on."""
        return any(row.read for row in (self.overall, *self.structures))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundStatement:
    """What is said of a release.

    Attributes:
        dsc: Labels below it are bad.
        confidence: That this evaluation and all later ones of these labels hold.
        method: ``fixed`` for the first evaluation of any release that shares labels with this one,
            ``time_uniform`` for later ones, of this release or of another.
        kinds: The ways of reading of which there is something.
        words: The statement for people: one sentence a kind, then what to know of them.
    """

    release_id: str
    release: str
    dsc: float
    confidence: float
    method: Method
    kinds: tuple[KindBound, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRequest:
    """What is asked.

    Attributes:
        dsc: In (0, 1].
        confidence: Between 0.5 and 1.
        by: Who asks; the statement is recorded.
    """

    release: str
    dsc: float = 0.8
    confidence: float = 0.95
    by: Actor | None = None

    def __post_init__(self) -> None:
        if not 0 < self.dsc <= 1:
            raise UsageError(f"--dsc is a Dice similarity in (0, 1], got {self.dsc:g}")
        if not 0.5 <= self.confidence < 1:
            raise UsageError(f"--confidence lies in [0.5, 1), got {self.confidence:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a bound is about and made from.

    Attributes:
        labels: Those that the audit drew from.
        read: What readers said of them.
        unreviewed: Units of the release with a label that nobody judged.
        uncovered: Of these, those with such a label outside of the frame.
    """

    labels: Sequence[FramedLabel]
    read: LabelsRead
    unreviewed: frozenset[UnitKey]
    uncovered: frozenset[UnitKey]


def bound(store: Store, request: BoundRequest) -> tuple[JsonObject, bool]:
    """Say it and record it in the journal; what was said of the same readings is said again.

    Returns:
        The statement as JSON, and whether it was recorded before.

    Raises:
        AccessError: Who asks is no admin where readers are registered.
        UsageError: There is no such release, nothing of it is unreviewed, or nothing was audited.
        StorageError: Somebody else said something of a release at the same moment.
    """
    release = read_release(store, request.release)
    frame = _frame(store, release)
    answers = _hash(frame)
    wanted = (release.release_id, request.dsc, request.confidence, answers)
    with store.read() as connection:
        known = bounds_of(connection)
    for one in known:
        if (one.release_id, one.dsc, one.confidence, one.answers) == wanted:
            return one.statement(store.objects), True
    looks = _looks(store, release, [one for one in known if one.answers != answers])
    method: Method = "time_uniform" if looks else "fixed"
    overlap = LabelOverlap(store, frame.labels)
    level = 1 - (1 - request.confidence) * ERROR_SHARE[method]
    kinds = bound_kinds(frame, overlap, replace(request, confidence=level), method=method)
    told = tuple(kind for kind in kinds if kind.has_readings)
    if not told:
        raise UsageError(_nothing_read(release, kinds))
    said = BoundStatement(
        release_id=release.release_id,
        release=release.name,
        dsc=request.dsc,
        confidence=request.confidence,
        method=method,
        kinds=told,
        words=tuple(_words(release, told, request, looks)),
    )
    statement: JsonObject = {"schema": 1, **asdict(said)}
    if not record_bound(store, statement, answers=answers, known=len(known), by=request.by):
        raise StorageError(
            "releases are bounded by one command at a time, and another one said something "
            "meanwhile; give the command again"
        )
    return statement, False


def bound_kinds(
    frame: Frame,
    dsc_of: Callable[..., float | None],
    request: BoundRequest,
    *,
    method: Method,
) -> tuple[KindBound, ...]:
    """Return the rows of each way of reading that anything is known of.

    Args:
        frame: What is bounded.
        dsc_of: Label and mask -> their DSC; None where both are empty.
        request: What counts as bad, and the confidence.
        method: How the bound is computed.
    """
    kinds = []
    for way, kind in KIND.items():
        states = unit_states(frame.labels, frame.read, way, dsc_of=dsc_of, limit=request.dsc)
        if all(state in ("open", "gone") for state in states.values()):
            continue
        kinds.append(_kind(kind, _Way(frame, states, request.confidence, method)))
    return tuple(kinds)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of reading; ``states`` stand in the random order."""

    frame: Frame
    states: Mapping[UnitKey, UnitState]
    confidence: float
    method: Method

    def structures(self) -> list[str]:
        there = {unit[2] for unit in self.frame.unreviewed}
        return [name for name in load_taxonomy().names if name in there]

    def row(self, structure: str, *, together: int) -> BoundRow:
        """Return the row of a structure, or of ``all``; ``together`` rows share the risk."""
        states: dict[UnitKey, UnitState] = {
            unit: state for unit, state in self.states.items() if structure in ("all", unit[2])
        }
        sample = answered_prefix(tuple(states.values()))
        remainder = self._remainder(structure, states)
        most = self._most(len(states), sample, self.confidence)
        jointly = self._most(len(states), sample, 1 - (1 - self.confidence) / max(1, together))
        return BoundRow(
            structure=structure,
            unreviewed=remainder.units,
            uncovered=remainder.uncovered,
            frame=len(states),
            read=sample.drawn,
            bad=sample.bad,
            unsure=sample.unsure,
            beyond=sample.beyond,
            at_most=remainder.at_most(most),
            share=remainder.share_at_most(most),
            share_together=remainder.share_at_most(jointly) if together else None,
            needed=tuple(self._needed(len(states), remainder.units, share) for share in SHARES),
        )

    def _most(self, frame: int, sample: Sample, confidence: float) -> int:
        if not frame:
            return 0
        if self.method == "time_uniform":
            return TimeUniformBound(frame, confidence).most_bad(sample.is_bad)
        return most_bad(frame, sample.drawn, sample.bad, confidence)

    def _needed(self, frame: int, unreviewed: int, share: float) -> int:
        """Return the draws for a share of what is unreviewed, which is a part of the frame."""
        return needed(frame, share * min(1.0, unreviewed / frame), self.confidence) if frame else 0

    def _remainder(self, structure: str, states: Mapping[UnitKey, UnitState]) -> Remainder:
        units, uncovered = (
            {unit for unit in whole if structure in ("all", unit[2])}
            for whole in (self.frame.unreviewed, self.frame.uncovered)
        )
        covered = units - uncovered
        return Remainder(
            units=len(units),
            uncovered=len(uncovered),
            bad_elsewhere=_count(states, states.keys() - units, "bad"),
            bad=_count(states, covered, "bad"),
            good=_count(states, covered, "good"),
        )


def _count(states: Mapping[UnitKey, UnitState], units: Collection[UnitKey], wanted: str) -> int:
    return sum(states.get(unit) == wanted for unit in units)


def _kind(kind: str, way: _Way) -> KindBound:
    names = way.structures()
    return KindBound(
        kind=kind,
        overall=way.row("all", together=0),
        structures=tuple(way.row(name, together=len(names)) for name in names),
    )


def _looks(store: Store, release: Release, others: Sequence[ReleaseBound]) -> list[str]:
    """Return the names of releases that share a prediction and were bounded by ``others``.

    What a release holds is chosen by people who saw the bounds before it, so a bound of the same
    predictions is one more look at one random order, whatever the release is called.
    """
    ours = {case.prediction_id for case in release.cases}
    names = []
    for release_id in dict.fromkeys(one.release_id for one in others):
        other = read_release(store, release_id)
        if ours & {case.prediction_id for case in other.cases}:
            names.append(other.name)
    return names


def _frame(store: Store, release: Release) -> Frame:
    """Read what a release's bound is about.

    Raises:
        UsageError: Nothing of the release is unreviewed, or there never was an audit.
    """
    waiting = {
        (case.case_id, label.structure): case.committee_id
        for case in release.cases
        for label in case.labels
        if label.review in ("unreviewed", "deferred") and label.label_id == case.prediction_id
    }
    if not waiting:
        raise UsageError(
            f"a bound is about labels that nobody judged, and release {release.name} holds none; "
            "every label of it was reviewed"
        )
    predictions = [case.prediction_id for case in release.cases]
    with store.read() as connection:
        if audit_seed(connection) is None:
            raise UsageError(
                "a bound comes from labels that were drawn at random before anybody read them, and "
                "nothing was audited; run `atlasloop audit`, and let readers answer"
            )
        patients = {case.case_id: case.patient_id for case in all_cases(connection)}
        labels = framed_labels(connection, predictions)
        read = LabelsRead(
            reviews=reviews_of(connection, predictions),
            readings=readings_of(connection, predictions),
            touched=touched_labels(connection),
        )
    framed = {label.key for label in labels}
    units = {key: (made_by, patients[key[0]], key[1]) for key, made_by in waiting.items()}
    return Frame(
        labels=labels,
        read=read,
        unreviewed=frozenset(units.values()),
        uncovered=frozenset(unit for key, unit in units.items() if key not in framed),
    )


def _hash(frame: Frame) -> str:
    """Return the hash of all that was read, and of what was in the frame to be read."""
    given = [answer.verdict_id for answers in frame.read.reviews.values() for answer in answers]
    drawn = [
        one.answer.verdict_id
        for ones in frame.read.readings.values()
        for one in ones
        if one.answer is not None
    ]
    return sha256_hex(to_bytes({"reviews": sorted(given), "readings": sorted(drawn)}))


def _nothing_read(release: Release, kinds: Sequence[KindBound]) -> str:
    beyond = sum(kind.overall.beyond for kind in kinds)
    rule = (
        f"a bound comes from labels drawn at random and judged in that order, and of release "
        f"{release.name} none was audited"
    )
    if beyond:
        return (
            f"{rule} from the head of the order on: {beyond} were judged, but the first one waits; "
            "`atlasloop assign --list` shows who has what open"
        )
    return (
        f"{rule}; audits of other predictions, as of an older model, do not count: run "
        "`atlasloop audit`, and let readers answer"
    )


def _words(
    release: Release, kinds: Sequence[KindBound], request: BoundRequest, looks: Sequence[str]
) -> list[str]:
    words = [_sentence(release, kind, request) for kind in kinds]
    if "independent_dsc" not in {kind.kind for kind in kinds}:
        words.append("Nothing is said of accuracy: no label was read without the AI's mask.")
    words.append(_look_words(request, looks))
    words.append(
        "Each row holds by itself at the confidence; the column `together` holds for all "
        "structures at once (Bonferroni)."
    )
    unsure = sum(row.unsure for kind in kinds for row in kind.structures)
    if unsure:
        words.append(f"{unsure} units without an answer (deferred, or seen before) count as bad.")
    linked = sum(label.review == "linked" for case in release.cases for label in case.labels)
    if linked:
        words.append(
            f"{linked} labels changed only along with a neighbour's correction; nothing is said of "
            "them."
        )
    return words


def _look_words(request: BoundRequest, looks: Sequence[str]) -> str:
    error = 1 - request.confidence
    if not looks:
        return (
            "First evaluation of these labels, a fixed sample: it holds unless the number of "
            f"readings was chosen by their outcome. It takes {error * ERROR_SHARE['fixed']:.3g} of "
            f"the error of {error:.3g}; the rest is kept for later evaluations, so that all of "
            "them hold together at the confidence."
        )
    return (
        f"These labels were evaluated before from other readings (release {', '.join(looks)}): the "
        "bound is time-uniform, so it holds however often one looks. All later evaluations "
        f"together take {error * ERROR_SHARE['time_uniform']:.3g} of the error of {error:.3g}, the "
        "first one the rest."
    )


def _sentence(release: Release, kind: KindBound, request: BoundRequest) -> str:
    row = kind.overall
    how = {
        "edit_dsc": "edit_dsc, the AI's mask against its own correction; no accuracy",
        "independent_dsc": "independent_dsc, against readings made without the AI's mask: accuracy",
    }[kind.kind]
    return (
        f"At most {row.share:.1%} ({row.at_most} of {row.unreviewed}, one a patient and structure) "
        f"of the unreviewed labels of release {release.name} are below DSC {request.dsc:g}, at "
        f"{request.confidence:.0%} confidence ({how}): {row.bad} bad of {row.read} read of "
        f"{row.frame}."
    )
