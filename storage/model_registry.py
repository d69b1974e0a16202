"""The workspace's models: weights as objects, a card each, versions in the journal.

The journal is what counts. ``models/NAME.json`` and ``models/NAME.md`` show the card in force to
people; they are written under the lock, after the journal line, and whoever reads the registry next
mends what a kill between the two left behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from configs.errors import ConfigError, ConflictError, StorageError, UsageError
from configs.post_process import PostProcessRules, post_process_in_force
from configs.setting_sections import MemberSettings
from configs.settings import Settings
from storage.canonical_json import JsonObject, sha256_hex, to_bytes
from storage.model_card import card_json, card_markdown, card_temperatures
from storage.store import Store

# Counts up when the same weights and settings would give other masks or scores.
PIPELINE_VERSION = 2


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
    """One configured member with the checkpoint that it votes with.

    Attributes:
        temperatures: Structure -> what its probabilities are calibrated by, from the model's card.
    """

    name: str
    family: str
    weights: str
    path: Path
    temperatures: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """Return what identifies the member's vote."""
        known: JsonObject = {"name": self.name, "family": self.family, "weights": self.weights}
        return {**known, "temperatures": dict(self.temperatures)} if self.temperatures else known


@dataclass(frozen=True, slots=True)
class CommitteeRecord:
    """The configured committee.

    Attributes:
        committee_id: ``k-`` + 12 hex digits over members, weights and all that changes a mask.
        rules: What is kept of raw masks; None keeps everything.
    """

    committee_id: str
    members: tuple[CommitteeMemberRecord, ...]
    rules: PostProcessRules | None


def register_model(store: Store, name: str, checkpoint: bytes, card: JsonObject) -> RegisteredModel:
    """Store a checkpoint and its card; the newest model of a name is the one in force."""
    weights = store.objects.put(checkpoint)
    with store.transaction() as transaction:
        row = transaction.connection.execute(
            "SELECT weights FROM current_models WHERE name = ?", [name]
        ).fetchone()
        if row is None or row[0] != weights:
            transaction.record("model.registered", {"name": name, "weights": weights, "card": card})
        write_cards(store, transaction.connection)
    return RegisteredModel(name, weights, card)


def amend_card(store: Store, model: RegisteredModel, changes: JsonObject) -> RegisteredModel:
    """Put more into the card of the weights in force; what was there under the same keys goes.

    Args:
        store: The workspace.
        model: As ``registered_models`` gave it.
        changes: Keys of the card with their new values.

    Raises:
        ConflictError: The model got other weights meanwhile; nothing is written.
    """
    with store.transaction() as transaction:
        current = _current_models(transaction.connection).get(model.name)
        if current is None or current.weights != model.weights:
            raise ConflictError(
                f"a card belongs to its weights; those of {model.name} were replaced meanwhile; "
                "do the same with the new ones"
            )
        card = {**current.card, **changes}
        facts = {"name": model.name, "weights": model.weights, "card": card}
        transaction.record("model.registered", facts)
        write_cards(store, transaction.connection)
    return RegisteredModel(model.name, model.weights, card)


def registered_models(store: Store) -> dict[str, RegisteredModel]:
    """Return the newest model of each name; their cards for people are right afterwards."""
    with store.read() as connection:
        return known_models(store, connection)


def known_models(store: Store, connection: duckdb.DuckDBPyConnection) -> dict[str, RegisteredModel]:
    """Return what ``registered_models`` does, on an open index."""
    write_cards(store, connection)
    return _current_models(connection)


def registered_model(store: Store, name: str) -> RegisteredModel:
    """Return the newest model of a name.

    Raises:
        UsageError: There is none.
    """
    models = registered_models(store)
    if name not in models:
        known = ", ".join(sorted(models)) or "none"
        raise UsageError(f"no model {name!r} is registered; known are: {known}")
    return models[name]


def write_cards(store: Store, connection: duckdb.DuckDBPyConnection) -> None:
    """Write the cards that are missing or not those in force; call it under the lock.

    Raises:
        StorageError: A card cannot be written.
    """
    for model in _current_models(connection).values():
        for suffix, text in (
            (".json", card_json(model.name, model.weights, model.card)),
            (".md", card_markdown(model.name, model.weights, model.card)),
        ):
            _write_if_other(store.workspace.models_path / f"{model.name}{suffix}", text)


def _current_models(connection: duckdb.DuckDBPyConnection) -> dict[str, RegisteredModel]:
    rows = connection.execute(
        "SELECT name, weights, card FROM current_models ORDER BY name"
    ).fetchall()
    return {name: RegisteredModel(name, weights, json.loads(card)) for name, weights, card in rows}


def configured_committee(
    store: Store, known: Mapping[str, RegisteredModel] | None = None
) -> CommitteeRecord:
    """Return the committee of the settings with its checkpoints.

    Args:
        store: The workspace.
        known: The registered models, where the caller has read them.

    Raises:
        ConfigError: Fewer than two members, a member whose weights are not registered, or rules of
            post-processing that are none.
    """
    members = store.settings.committee
    if len(members) < 2:
        raise ConfigError(
            f"a committee needs two or more members, the settings name {len(members)}; add "
            "[[committee]] entries to atlasloop.toml, or train with `atlasloop train --join`"
        )
    models = registered_models(store) if known is None else known
    records = []
    for member in members:
        if member.weights not in models:
            raise ConfigError(
                f"committee member {member.name} votes with weights {member.weights!r}, which are "
                f"not registered; known are {sorted(models) or 'none'}"
            )
        records.append(_member_record(store, member, models[member.weights]))
    rules = post_process_in_force(store.settings.annotate.post_process, store.workspace.root)
    committee_id = _committee_id(store.settings, records, rules)
    return CommitteeRecord(committee_id, tuple(records), rules)


def _member_record(
    store: Store, member: MemberSettings, model: RegisteredModel
) -> CommitteeMemberRecord:
    calibrated = store.settings.annotate.temperatures
    return CommitteeMemberRecord(
        name=member.name,
        family=member.family,
        weights=model.weights,
        path=store.objects.path(model.weights),
        temperatures=card_temperatures(model.card) if calibrated else {},
    )


def _committee_id(
    settings: Settings, members: list[CommitteeMemberRecord], rules: PostProcessRules | None
) -> str:
    annotate = settings.annotate
    chosen = {
        "profile": None if annotate.profile == "weights" else annotate.profile,
        "window": None if annotate.window is None else list(annotate.window),
        "blending": annotate.blending,
        "body_only": annotate.body_only,
        # Raw masks keep the id that they had before there were rules.
        "post_process": None if rules is None else rules.digest,
    }
    identity: JsonObject = {
        "pipeline": PIPELINE_VERSION,
        "members": [member.to_json() for member in members],
        "overlap": settings.annotate.overlap,
        "autocast": settings.annotate.autocast,
        # Left out where they are not set, so that committees keep their names.
        **{name: value for name, value in chosen.items() if value is not None},
    }
    return "k-" + sha256_hex(to_bytes(identity))[:12]


def _write_if_other(path: Path, text: str) -> None:
    data = text.encode("utf-8")
    temporary = path.with_name(f".{path.name}.part")
    try:
        if path.is_file() and path.read_bytes() == data:
            return
        path.parent.mkdir(exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"the card {path.name} cannot be written: {error.strerror}") from error
