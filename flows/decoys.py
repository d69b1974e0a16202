"""Decoys: items of the queue's head that hide which blind items were drawn at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from storage.blind_items import Connection, Key
from storage.decoys import Look, looks_of, unjudged_alike

_POSITIONS_A_DECOY = 50
# The queue goes through a CT's structures one after the other, so its head is a few CTs. Of fifty
# positions a decoy, each decoy finds a CT of its own.


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiding:
    """What is to be hidden, from one reader.

    Attributes:
        drawn: Cases and structures among which the decoys will stand.
        count: How many decoys are wanted.
        blocked: What cannot be a decoy.
        cases: Cases in which a decoy waits for the reader already.
    """

    drawn: Collection[Key]
    count: int
    blocked: Collection[Key]
    cases: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoyPool:
    """The heads from which the decoys of one run are taken, each read from the index once.

    Attributes:
        structures: Only these; all when empty.
        hidden: What nobody can be given.
        most: Decoys that the run takes at most.
        seed: Of the order of labels that stand in no queue.
    """

    connection: Connection
    structures: tuple[str, ...]
    hidden: Collection[Key]
    most: int
    seed: int
    _heads: dict[Look, list[Key]] = field(default_factory=dict)

    def take(self, hiding: Hiding, generator: np.random.Generator) -> list[Key]:
        """Return decoys that look as what was drawn does: as many with a mask, and without.

        They are drawn from a part of the head, at most one a CT: two blind items of one CT, or one
        without a mask, would tell that they are no decoys, or that they are.
        """
        looks = sorted(looks_of(self.connection, hiding.drawn).items())
        if not looks:
            return []
        wanted: Counter[Look] = Counter(
            looks[place % len(looks)][1] for place in range(hiding.count)
        )
        taken: list[Key] = []
        cases = set(hiding.cases)
        for look, count in sorted(wanted.items()):
            free = [key for key in self._head(look) if key not in hiding.blocked]
            free = free[: _POSITIONS_A_DECOY * count]
            found = _one_a_case((free[at] for at in generator.permutation(len(free))), cases, count)
            taken += found
            cases |= {case_id for case_id, _ in found}
        return taken

    def _head(self, look: Look) -> list[Key]:
        if look not in self._heads:
            self._heads[look] = unjudged_alike(
                self.connection,
                look,
                self.structures,
                hidden=self.hidden,
                # As many again may be drawn or taken for other readers meanwhile.
                limit=(_POSITIONS_A_DECOY + 2) * self.most,
                seed=self.seed,
            )
        return self._heads[look]


def _one_a_case(keys: Iterable[Key], without: Collection[str], count: int) -> list[Key]:
    found: dict[str, Key] = {}
    for key in keys:
        if len(found) == count:
            break
        if key[0] not in without:
            found.setdefault(key[0], key)
    return list(found.values())
