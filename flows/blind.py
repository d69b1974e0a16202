"""Give readers items to judge blind: drawn at random for an audit, or of a known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from flows.decoys import DecoyPool, Hiding
from storage.blind_items import (
    ArmCount,
    BlindBatch,
    BlindItem,
    Key,
    arm_counts,
    assign_blind,
    open_keys,
    unjudged_queue,
)
from storage.decoys import decoy_cases
from storage.label_sources import labels_of, parse_source, seen_with_ai
from storage.qualification import QualificationSet, define_set, qualification_sets
from storage.readers import check_reader, who_acts
from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindRequest:
    """What a reader is to judge blind.

    Attributes:
        random: So many items, drawn with ``seed``; of a set that is known, all of it.
        decoys: So many items of the queue's head beside them, one a CT at most; as many as there
            are when None.
        structures: Only these; all when empty.
        known_truth: The label source that knows the truth; None for an audit.
        set_name: The qualification set that is given, or defined by what is drawn.
        least_dsc: Of a new set: an item is passed from this overlap on.
        least_share: Of a new set: a reader qualifies from this share of items on.
        by: Who assigns; None for the settings' reader.
    """

    reader: str
    random: int | None = None
    decoys: int | None = None
    seed: int = 0
    structures: tuple[str, ...] = ()
    known_truth: str | None = None
    set_name: str | None = None
    least_dsc: float = 0.8
    least_share: float = 0.8
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindAssignment:
    """What was assigned; it names no item, so that it may be shown to the reader.

    Attributes:
        drawn: Items of the audit, or with a known truth.
        frame: How many they were drawn from.
        decoys: Items of the queue's head beside them.
    """

    batch_id: str
    reader: str
    drawn: int
    frame: int
    decoys: int
    seed: int
    set_name: str | None


@dataclass(frozen=True, slots=True)
class _Drawn:
    keys: tuple[Key, ...]
    frame: int
    truth: str | None


def assign_blindly(store: Store, request: BlindRequest) -> BlindAssignment:
    """Commit a batch in which nobody sees what was drawn and what leads the queue.

    Raises:
        UsageError: The request asks for more than there is, names an unknown set or source, or
            does not say how many.
    """
    check_reader(request.reader)
    generator = np.random.default_rng(request.seed)
    drawn = _drawn(store, request, generator)
    decoys = _decoys(store, request, drawn, generator)
    items = _shuffled(drawn, decoys, generator)
    batch = BlindBatch(
        reader=request.reader,
        items=items,
        frame=drawn.frame,
        seed=request.seed,
        set_name=request.set_name,
    )
    return BlindAssignment(
        batch_id=assign_blind(store, batch, by=who_acts(store.settings.review, request.by)),
        reader=request.reader,
        drawn=len(drawn.keys),
        frame=drawn.frame,
        decoys=len(decoys),
        seed=request.seed,
        set_name=request.set_name,
    )


def blind_counts(store: Store, reader: str | None) -> list[ArmCount]:
    """Return how far readers are in each arm, without naming an item."""
    with store.read() as connection:
        return arm_counts(connection, reader=reader)


def _drawn(store: Store, request: BlindRequest, generator: np.random.Generator) -> _Drawn:
    with store.read() as connection:
        known = {one.name: one for one in qualification_sets(store, connection)}
    found = known.get(request.set_name or "")
    if found is not None:
        if request.known_truth not in (None, found.truth) or request.random is not None:
            raise UsageError(
                f"the set {found.name!r} is known: {len(found.items)} items against {found.truth}; "
                "give its name alone, or define another under a new name"
            )
        return _Drawn(found.items, len(found.items), found.truth)
    if request.random is None:
        raise UsageError("a blind assignment needs --random, or --set with the name of a known set")
    if request.set_name is not None and request.known_truth is None:
        raise UsageError(
            f"there is no set {request.set_name!r}; --known-truth SOURCE --random N defines it"
        )
    frame = _frame(store, request)
    if request.random > len(frame):
        raise UsageError(
            f"--random draws from what is new to {request.reader}, and there are {len(frame)}, not "
            f"{request.random}; ask for fewer"
        )
    places = generator.choice(len(frame), size=request.random, replace=False)
    keys = tuple(frame[place] for place in sorted(places))
    if request.set_name is not None and request.known_truth is not None:
        define_set(
            store,
            QualificationSet(
                name=request.set_name,
                truth=request.known_truth,
                items=keys,
                least_dsc=request.least_dsc,
                least_share=request.least_share,
            ),
            by=who_acts(store.settings.review, request.by),
        )
    return _Drawn(keys, len(frame), request.known_truth)


def _frame(store: Store, request: BlindRequest) -> list[Key]:
    """Return what items are drawn from: what nobody judged, or whose truth is known."""
    wanted = load_taxonomy().select(request.structures) or load_taxonomy().names
    with store.read() as connection:
        taken = open_keys(connection, request.reader)
        taken |= seen_with_ai(connection, request.reader).keys()
        if request.known_truth is None:
            frame = unjudged_queue(connection, wanted)
        else:
            source = parse_source(request.known_truth)
            if source.kind != "dataset" and not source.reading:
                raise UsageError(
                    "a truth comes from a dataset or from an independent reading, got "
                    f"{request.known_truth!r}; give dataset:NAME or reader:NAME/independent"
                )
            if source.name == request.reader and source.kind == "reader":
                raise UsageError(f"{request.reader} cannot be the truth for {request.reader}")
            truth = labels_of(connection, source).labels
            committee = labels_of(connection, parse_source("committee")).labels
            frame = sorted(key for key in truth.keys() & committee.keys() if key[1] in wanted)
    return [key for key in frame if key not in taken]


def _decoys(
    store: Store, request: BlindRequest, drawn: _Drawn, generator: np.random.Generator
) -> list[Key]:
    """Return items of the queue's head that look like what was drawn; ``flows.decoys`` says how."""
    count = len(drawn.keys) if request.decoys is None else request.decoys
    if count == 0:
        return []
    with store.read() as connection:
        taken = open_keys(connection, request.reader) | set(drawn.keys)
        taken |= seen_with_ai(connection, request.reader).keys()
        pool = DecoyPool(
            connection=connection,
            structures=load_taxonomy().select(request.structures),
            hidden=taken,
            most=count,
            seed=request.seed,
        )
        cases = decoy_cases(connection, request.reader)
        hiding = Hiding(drawn=drawn.keys, count=count, blocked=(), cases=cases)
        return pool.take(hiding, generator)


def _shuffled(
    drawn: _Drawn, decoys: Sequence[Key], generator: np.random.Generator
) -> tuple[BlindItem, ...]:
    """Put everything on drawn slots of the queue's head, so that no place tells an arm."""
    total = len(drawn.keys) + len(decoys)
    slots = [int(slot) + 1 for slot in generator.permutation(2 * total)[:total]]
    arm = "audit" if drawn.truth is None else "known_truth"
    items = [
        *(
            BlindItem(*key, arm, slot, drawn.truth)
            for key, slot in zip(drawn.keys, slots, strict=False)
        ),
        *(
            BlindItem(*key, "ranked", slot)
            for key, slot in zip(decoys, slots[len(drawn.keys) :], strict=True)
        ),
    ]
    return tuple(sorted(items, key=lambda item: item.slot))
