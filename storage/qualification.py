"""Qualification sets: named lists of items whose truth is known, which a reader has to pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from configs.errors import UsageError
from storage.blind_items import Key
from storage.readers import Actor
from storage.roles import Action, check_allowed
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class QualificationSet:
    """What a reader has to pass.

    Attributes:
        truth: The label source that holds the truth, such as ``dataset:NAME``.
        least_dsc: An item is passed from this overlap with the truth on.
        least_share: A reader qualifies from this share of passed items on.
    """

    name: str
    truth: str
    items: tuple[Key, ...]
    least_dsc: float
    least_share: float

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip() or not self.items:
            raise UsageError(
                f"a qualification set has a name without outer space and items, got {self.name!r} "
                f"with {len(self.items)}"
            )
        if not (0 < self.least_dsc <= 1 and 0 < self.least_share <= 1):
            raise UsageError(
                "least DSC and least share lie above 0 and are at most 1, got "
                f"{self.least_dsc:g} and {self.least_share:g}"
            )


def define_set(store: Store, wanted: QualificationSet, *, by: Actor | None = None) -> None:
    """Commit a qualification set under a new name.

    Args:
        store: The workspace.
        wanted: The set.
        by: Who defines it: a reviewer or admin, once somebody is registered.

    Raises:
        AccessError: Who defines it may not.
        UsageError: There is a set of that name; readers were measured by it.
    """
    items = [{"case_id": case_id, "structure": name} for case_id, name in wanted.items]
    with store.transaction() as transaction:
        check_allowed(transaction.connection, by and by.name, Action.ASSIGN)
        if any(one.name == wanted.name for one in _sets(transaction.connection, store)):
            raise UsageError(
                f"a qualification set stays as it is, and {wanted.name!r} is one; choose another "
                "name"
            )
        transaction.record_with_object(
            "qualification.defined",
            {
                "name": wanted.name,
                "truth": wanted.truth,
                "least_dsc": wanted.least_dsc,
                "least_share": wanted.least_share,
            },
            key="items",
            content={"items": items},
        )


def qualification_sets(store: Store, connection: Connection) -> list[QualificationSet]:
    """Return the sets in the order of their definition."""
    return list(_sets(connection, store))


def _sets(connection: Connection, store: Store) -> Sequence[QualificationSet]:
    rows = connection.execute(
        "SELECT name, truth, items, least_dsc, least_share FROM qualification_sets ORDER BY seq"
    ).fetchall()
    return [
        QualificationSet(
            name=name,
            truth=truth,
            items=_items(store, items),
            least_dsc=least_dsc,
            least_share=least_share,
        )
        for name, truth, items, least_dsc, least_share in rows
    ]


def _items(store: Store, digest: str) -> tuple[Key, ...]:
    items = json.loads(store.objects.read(digest))["items"]
    return tuple((item["case_id"], item["structure"]) for item in items)
