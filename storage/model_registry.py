"""The workspace's models: weights as objects, a short card each, versions in the journal."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError
from configs.settings import Settings
from storage.canonical_json import JsonObject, sha256_hex, to_bytes
from storage.store import Store

# Counts up when the same weights and settings would give other masks or scores.
PIPELINE_VERSION = 1


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model of the workspace.

    Attributes:
        weights: SHA-256 of the checkpoint object.
        card: What it is and what it was trained on.
    """

    name: str
    weights: str
    card: JsonObject


@dataclass(frozen=True, slots=True)
class CommitteeMemberRecord:
    """One configured member with the checkpoint that it votes with."""

    name: str
    family: str
    weights: str
    path: Path

    def to_json(self) -> JsonObject:
        """Return what identifies the member's vote."""
        return {"name": self.name, "family": self.family, "weights": self.weights}


@dataclass(frozen=True, slots=True)
class CommitteeRecord:
    """The configured committee.

    Attributes:
        committee_id: ``k-`` + 12 hex digits over members, weights and all that changes a mask.
    """

    committee_id: str
    members: tuple[CommitteeMemberRecord, ...]


def register_model(store: Store, name: str, checkpoint: bytes, card: JsonObject) -> RegisteredModel:
    """Store a checkpoint and its card; the newest model of a name is the one in force."""
    weights = store.objects.put(checkpoint)
    with store.transaction() as transaction:
        row = transaction.connection.execute(
            "SELECT weights FROM current_models WHERE name = ?", [name]
        ).fetchone()
        if row is None or row[0] != weights:
            transaction.record("model.registered", {"name": name, "weights": weights, "card": card})
    write_card(store, name, weights, card)
    return RegisteredModel(name, weights, card)


def registered_models(store: Store) -> dict[str, RegisteredModel]:
    """Return the newest model of each name."""
    with store.read() as connection:
        rows = connection.execute(
            "SELECT name, weights, card FROM current_models ORDER BY name"
        ).fetchall()
    return {name: RegisteredModel(name, weights, json.loads(card)) for name, weights, card in rows}


def configured_committee(store: Store) -> CommitteeRecord:
    """Return the committee of the settings with its checkpoints.

    Raises:
        ConfigError: Fewer than two members, or a member whose weights are not registered.
    """
    members = store.settings.committee
    if len(members) < 2:
        raise ConfigError(
            f"a committee needs two or more members, the settings name {len(members)}; add "
            "[[committee]] entries to atlasloop.toml, or train with `atlasloop train --join`"
        )
    models = registered_models(store)
    records = []
    for member in members:
        if member.weights not in models:
            raise ConfigError(
                f"committee member {member.name} votes with weights {member.weights!r}, which are "
                f"not registered; known are {sorted(models) or 'none'}"
            )
        weights = models[member.weights].weights
        path = store.objects.path(weights)
        records.append(CommitteeMemberRecord(member.name, member.family, weights, path))
    return CommitteeRecord(_committee_id(store.settings, records), tuple(records))


def _committee_id(settings: Settings, members: list[CommitteeMemberRecord]) -> str:
    identity = {
        "pipeline": PIPELINE_VERSION,
        "members": [member.to_json() for member in members],
        "overlap": settings.annotate.overlap,
        "autocast": settings.annotate.autocast,
    }
    return "k-" + sha256_hex(to_bytes(identity))[:12]


def write_card(store: Store, name: str, weights: str, card: JsonObject) -> None:
    """Write the card for people to read; the journal holds the same facts."""
    store.workspace.models_path.mkdir(exist_ok=True)
    path = store.workspace.models_path / f"{name}.json"
    temporary = path.with_suffix(".part")
    text = json.dumps({"name": name, "weights": weights, **card}, indent=2, sort_keys=True)
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, path)  # noqa: PTH105 replace() is the atomic one on every platform
