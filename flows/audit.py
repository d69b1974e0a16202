"""The standing audit: a random part of readers' coming work, drawn before anybody reads."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil

import numpy as np

from configs.setting_sections import TriageSettings
from configs.taxonomy import load_taxonomy
from flows.decoys import DecoyPool, Hiding
from storage.audit_draws import (
    AuditItem,
    AuditUnit,
    AuditWork,
    UnitSearch,
    active_readers,
    audit_work,
    blind_for_others,
    drawn_units,
    frame_units,
    newest_predictions,
    next_units,
    open_audit,
    record_draw,
    taken_slots,
)
from storage.blind_items import Connection, Key, open_keys, open_keys_of_all, unjudged_count
from storage.decoys import decoy_cases
from storage.label_sources import seen_with_ai
from storage.readers import Actor
from storage.roles import Action, check_allowed, is_allowed, registered_roles
from storage.store import Store, Transaction

NOBODY = (
    "nobody is there to audit: register readers with `atlasloop readers add`, set review.reader in "
    "atlasloop.toml, or give verdicts first"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditShare:
    """What one reader was given now; it names no item, so that it may be shown to the reader.

    Attributes:
        aided: Labels to judge with the AI's mask, blind.
        unaided: Labels to read without it.
        decoys: Items of the queue's head among the blind ones.
        open: Labels that were given before and wait.
    """

    reader: str
    aided: int
    unaided: int
    decoys: int
    open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRun:
    """What an audit drew.

    Attributes:
        frame: Units, a structure of a patient each, with a label that nobody judged.
        readers: Who was there to be given something.
        words: What a person must know of it; empty when all is as usual.
    """

    committee_id: str
    frame: int
    readers: tuple[AuditShare, ...]
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """What is asked for beyond the standing share.

    Attributes:
        more: So many units now, whatever readers have; the standing share when None.
        structures: Only these; all when empty.
        seed: Of the random orders, if this is the first audit; drawn when None.
        by: Who asks for more; the standing share is nobody's choice, so no role is asked for.
    """

    more: int | None = None
    structures: tuple[str, ...] = ()
    seed: int | None = None
    by: Actor | None = None


def audit(store: Store, committee_id: str, request: AuditRequest | None = None) -> AuditRun:
    """Top up each reader's coming work with labels in their random order; triage calls this.

    About ``triage.audit_share`` of what a reader does is drawn, some of it to be read without the
    AI's mask. The rest is judged blind among as many items of the queue's head. Draw and
    assignment are one journal line a reader, so a killed run has given nothing that was not drawn.

    Args:
        store: The workspace.
        committee_id: Whose newest predictions are audited.
        request: What is asked for beyond the share.

    Raises:
        AccessError: Who asks for more may not assign.
        UsageError: A structure is unknown.
        StorageError: The workspace cannot be written to.
    """
    request = request or AuditRequest()
    structures = load_taxonomy().select(request.structures)
    with store.transaction() as transaction:
        if request.more is not None:
            who = request.by and request.by.name
            check_allowed(transaction.connection, who, Action.ASSIGN)
        auditor = _Auditor(transaction, store, committee_id, structures)
        if not auditor.readers:
            return AuditRun(committee_id=committee_id, frame=0, readers=(), words=NOBODY)
        if request.more is None and not store.settings.triage.audit_share:
            words = "triage.audit_share is 0, so nothing is drawn"
            return AuditRun(committee_id=committee_id, frame=0, readers=(), words=words)
        seed = secrets.randbits(62) if request.seed is None else request.seed
        return auditor.run(open_audit(transaction, seed), more=request.more)


def missing_readers(store: Store) -> str:
    """Return in words that nobody can be given a part of the audit; empty where somebody can."""
    if not store.settings.triage.audit_share:
        return ""
    now = datetime.now(UTC).replace(tzinfo=None)
    with store.read() as connection:
        active = active_readers(connection, now=now)
        return "" if _able(connection, store.settings.review.reader, active) else NOBODY


@dataclass(frozen=True, slots=True)
class _Turn:
    """One reader's turn in a run: so many units are wanted."""

    reader: str
    work: AuditWork
    wanted: int
    seed: int

    def generator(self) -> np.random.Generator:
        """Return the turn's own randomness."""
        work = self.work
        return np.random.default_rng([self.seed, *self.reader.encode(), work.aided, work.unaided])


class _Auditor:
    """One run, inside one transaction."""

    def __init__(
        self,
        transaction: Transaction,
        store: Store,
        committee_id: str,
        structures: tuple[str, ...],
    ) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._settings: TriageSettings = store.settings.triage
        self._committee_id = committee_id
        self._structures = structures
        self._now = datetime.now(UTC).replace(tzinfo=None)
        active = active_readers(self._connection, now=self._now)
        self._able = _able(self._connection, store.settings.review.reader, active)
        # Whoever judged lately; all who may where nobody did.
        self.readers = tuple(one for one in self._able if one in active) or self._able

    def run(self, seed: int, *, more: int | None) -> AuditRun:
        """Give every reader what is wanted."""
        frame = frame_units(self._connection, self._committee_id, self._structures)
        waiting = unjudged_count(self._connection, self._structures)
        ahead = min(self._settings.audit_ahead, ceil(waiting / len(self.readers)))
        works = [audit_work(self._connection, reader) for reader in self.readers]
        wanted = [
            _wanted(work, ahead, self._settings.audit_share)
            if more is None
            else (more - turn + len(works) - 1) // len(works)
            for turn, work in enumerate(works)
        ]
        pool = DecoyPool(
            connection=self._connection,
            structures=self._structures,
            hidden=open_keys_of_all(self._connection),
            most=sum(wanted),
            seed=seed,
        )
        shares = [
            self._give(_Turn(reader, work, count, seed), pool, frame=frame)
            for reader, work, count in zip(self.readers, works, wanted, strict=True)
        ]
        words = "" if any(one.aided + one.unaided + one.open for one in shares) else _nothing(frame)
        return AuditRun(
            committee_id=self._committee_id, frame=frame, readers=tuple(shares), words=words
        )

    def _give(self, turn: _Turn, pool: DecoyPool, *, frame: int) -> AuditShare:
        """Draw for one reader and commit it; the readings without the mask first."""
        reader, work = turn.reader, turn.work
        taken = open_keys(self._connection, reader)
        blocked = taken | blind_for_others(self._connection, reader, now=self._now)
        # Who has judged a label with the mask cannot read it without. Blind, it may come again,
        # drawn or as a decoy: the reader cannot tell which.
        seen = seen_with_ai(self._connection, reader).keys()
        share = self._settings.audit_unaided_share
        least = round(share * (work.aided + work.unaided + turn.wanted)) - work.unaided
        count = min(max(0, least), max(0, turn.wanted))
        unaided = self._drawn(count, blocked | seen, unaided=True)
        blocked |= {key for unit in unaided for key in unit.keys}
        aided = self._drawn(turn.wanted - len(unaided), blocked, unaided=False)
        drawn = {key for unit in aided for key in unit.keys}
        generator = turn.generator()
        hiding = Hiding(
            drawn=drawn,
            count=len(drawn),
            blocked=blocked | drawn,
            cases=decoy_cases(self._connection, reader),
        )
        decoys = self._as_items(pool.take(hiding, generator))
        items = [
            *self._placed(unaided, unaided=True),
            *self._slotted(
                [*self._placed(aided, unaided=False), *decoys],
                generator,
                taken_slots(self._connection, reader),
            ),
        ]
        if items:
            record_draw(self._transaction, items, reader=reader, frame=frame)
        return AuditShare(
            reader=reader,
            aided=len(drawn),
            unaided=sum(len(unit.labels) for unit in unaided),
            decoys=len(decoys),
            open=len(taken),
        )

    def _drawn(self, count: int, blocked: Collection[Key], *, unaided: bool) -> list[AuditUnit]:
        search = UnitSearch(
            committee_id=self._committee_id,
            unaided=unaided,
            readers=self._able,
            structures=self._structures,
            now=self._now,
        )
        return next_units(self._connection, search, count=count, blocked=blocked)

    def _as_items(self, decoys: Sequence[Key]) -> list[AuditItem]:
        predictions = newest_predictions(self._connection)
        return [
            AuditItem(
                case_id=case_id,
                structure=structure,
                prediction_id=predictions[case_id],
                arm="ranked",
            )
            for case_id, structure in decoys
        ]

    def _placed(self, units: Sequence[AuditUnit], *, unaided: bool) -> list[AuditItem]:
        first = drawn_units(self._connection, unaided=unaided) + 1
        return [
            AuditItem(
                case_id=case_id,
                structure=unit.structure,
                prediction_id=prediction_id,
                arm="unaided" if unaided else "audit",
                place=place,
            )
            for place, unit in enumerate(units, first)
            for case_id, prediction_id in unit.labels
        ]

    def _slotted(
        self, items: Sequence[AuditItem], generator: np.random.Generator, taken: Collection[int]
    ) -> list[AuditItem]:
        """Put items on drawn places of the coming work, in the order of the places."""
        last = max(2 * len(items), self._settings.audit_ahead) + len(taken)
        free = [int(slot) + 1 for slot in generator.permutation(last) if slot + 1 not in taken]
        placed = [replace(item, slot=slot) for item, slot in zip(items, free, strict=False)]
        return sorted(placed, key=lambda item: item.slot or 0)


def _able(connection: Connection, named: str, active: Collection[str]) -> tuple[str, ...]:
    """Return who may be given something.

    Where nobody is registered, `review --reader` may name somebody whom no setting does.
    """
    roles = registered_roles(connection)
    if not roles:
        return (named,) if named else tuple(sorted(active))
    return tuple(sorted(name for name in roles if is_allowed(roles, name, Action.JUDGE)))


def _wanted(work: AuditWork, ahead: int, share: float) -> int:
    """Return how many labels bring a reader's audit to its share of the work done and coming."""
    if ahead == 0:
        return 0
    return max(0, ceil(share * (work.done + ahead)) - work.aided - work.unaided)


def _nothing(frame: int) -> str:
    if not frame:
        return "the committee has no label that nobody judged: nothing to draw"
    return "readers have their share of the audit already"
