"""The encoding that a training was asked for, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from configs.taxonomy import load_taxonomy
from model.anatomy_encoding import anatomy_vectors
from model.encoding import EncodingKind, TextVectors
from model.structure_vectors import load_vectors
from storage.canonical_json import JsonObject
from storage.encoding_registry import find_encoding
from storage.store import Store


@dataclass(frozen=True, slots=True)
class ChosenEncoding:
    """How a network tells structures apart, as plain values that another process can take.

    Attributes:
        name: ``learned``, ``one_hot``, ``anatomy`` or that of a stored encoding.
        file: Where a stored encoding's vectors lie; None for the other three.
    """

    name: str
    file: Path | None = None

    @property
    def kind(self) -> EncodingKind:
        """What the network is built with."""
        own: dict[str, EncodingKind] = {"learned": "learned", "one_hot": "one_hot"}
        return own.get(self.name, "text")

    def to_json(self) -> JsonObject:
        """Return the choice as JSON; a stored encoding's file is named by its SHA-256."""
        return {"name": self.name, "file": None if self.file is None else str(self.file)}

    @classmethod
    def from_json(cls, plain: JsonObject) -> Self:
        """Return the choice that was written down."""
        file = plain["file"]
        return cls(plain["name"], None if file is None else Path(file))

    def vectors(self, structures: Sequence[str]) -> TextVectors | None:
        """Return one row a structure; None where the network makes its own.

        Raises:
            ModelError: A structure has no row, or the file is damaged.
        """
        if self.file is not None:
            return load_vectors(self.file).rows_of(structures)
        if self.name == "anatomy":
            return anatomy_vectors(load_taxonomy(), structures)
        return None


def choose_encoding(store: Store, name: str) -> ChosenEncoding:
    """Return the encoding of a name.

    Raises:
        UsageError: It is none of the three that need no vectors, and none is stored under it.
    """
    if name in ("learned", "one_hot", "anatomy"):
        return ChosenEncoding(name)
    return ChosenEncoding(name, find_encoding(store, name).path)
