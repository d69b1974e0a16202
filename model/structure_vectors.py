"""Fixed vectors together with the structures that they stand for, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from configs.errors import ModelError
from model.encoding import Provenance, TextVectors

SCHEMA = 1
_KEY = "atlasloop_encoding"
_TENSOR = "vectors"


@dataclass(frozen=True, slots=True)
class StructureVectors:
    """An encoding that can be stored and used for any of its structures.

    Attributes:
        structures: Names, in the order of the rows.
        text: The rows.
    """

    structures: tuple[str, ...]
    text: TextVectors

    def rows_of(self, names: Sequence[str]) -> TextVectors:
        """Return the rows of some structures, in the order of ``names``.

        Raises:
            ModelError: A structure has no row.
        """
        missing = [name for name in names if name not in self.structures]
        if missing:
            raise ModelError(
                f"the encoding from {self.text.provenance.source} has no row for "
                f"{', '.join(missing)}; encode all structures with `atlasloop encode`"
            )
        places = [self.structures.index(name) for name in names]
        provenance, said = self.text.provenance, self.text.provenance.words
        chosen = Provenance(
            source=provenance.source,
            prompt=provenance.prompt,
            words=tuple(said[place] for place in places) if said else (),
        )
        return TextVectors.checked(self.text.vectors[places], chosen, count=len(places))


def cosine_similarities(text: TextVectors) -> npt.NDArray[np.float64]:
    """Return the cosine of the angle between each two rows, shape (n, n), 1 on the diagonal."""
    rows = text.vectors.numpy().astype(np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def save_vectors(vectors: StructureVectors) -> bytes:
    """Return the file's bytes; equal vectors, names and origins give equal bytes."""
    about = {
        "schema_version": SCHEMA,
        "structures": vectors.structures,
        "provenance": asdict(vectors.text.provenance),
    }
    metadata = {_KEY: json.dumps(about, sort_keys=True)}
    return save({_TENSOR: vectors.text.vectors.contiguous()}, metadata=metadata)


def load_vectors(path: Path) -> StructureVectors:
    """Read what ``save_vectors`` made.

    Raises:
        ModelError: The file is missing, damaged, of another kind or of a newer version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata, rows = file.metadata() or {}, file.get_tensor(_TENSOR)
        about = _About.model_validate_json(metadata[_KEY])
    except (SafetensorError, OSError, KeyError, ValidationError) as error:
        raise ModelError(
            f"{path.name} is no stored encoding of this version ({error}); make it again with "
            "`atlasloop encode`"
        ) from error
    provenance = Provenance(**about.provenance.model_dump())
    text = TextVectors.checked(rows, provenance, count=len(about.structures))
    if about.schema_version != SCHEMA or text.provenance.sha256 != provenance.sha256:
        raise ModelError(f"{path.name} does not hold the vectors that it says it holds")
    return StructureVectors(about.structures, text)


class _Provenance(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: str
    prompt: str | None
    words: tuple[str, ...]
    sha256: str


class _About(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: int
    structures: tuple[str, ...]
    provenance: _Provenance
