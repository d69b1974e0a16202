"""Make an encoding of structures and store it in the workspace."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import UsageError
from configs.taxonomy import Taxonomy, load_taxonomy
from model.anatomy_encoding import anatomy_vectors
from model.encoding import OneHotEncoding, Provenance, TextVectors
from model.structure_vectors import StructureVectors, load_vectors, save_vectors
from model.text_encoding import OpenClipModel, encode_words, read_text_vectors
from storage.canonical_json import JsonObject
from storage.encoding_registry import StoredEncoding, find_encoding, store_encoding
from storage.store import Store

RESERVED = ("learned", "one_hot", "anatomy", "text")
SOURCES = "open_clip:MODEL/PRETRAINED, file:PATH, one_hot or anatomy"

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
# Names that carry their weights with them: nothing stands behind a slash.
_WHOLE_NAMES = ("hf-hub:", "local-dir:")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeRequest:
    """What to encode, and with what.

    Attributes:
        source: One of ``SOURCES``.
        prompt: A key of ``model.text_encoding.PROMPTS``, or a sentence with ``{}``; open_clip only.
        structures: Rows, in order; empty for all of the taxonomy.
        words: Structure -> what the sentence calls it, where that is not the taxonomy's word.
        quick_gelu: See ``OpenClipModel``.
    """

    source: str
    prompt: str | None = None
    structures: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    quick_gelu: bool | None = None


def encode(store: Store, request: EncodeRequest, *, name: str) -> StoredEncoding:
    """Compute the vectors once and store them under a name.

    Raises:
        UsageError: The name, the source or a structure cannot be used.
        ModelError: The text encoder or the file cannot be had, or its vectors are unusable.
    """
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise UsageError(
            "an encoding's name has lower-case letters, digits, '.', '_' and '-', and is none of "
            f"{', '.join(RESERVED)}; got {name!r}"
        )
    vectors = encoded(load_taxonomy(), request)
    stored = store_encoding(store, name, save_vectors(vectors), _card(vectors))
    _LOG.info("encoding %s stored, %d structures", name, len(vectors.structures))
    return stored


def encoded(taxonomy: Taxonomy, request: EncodeRequest) -> StructureVectors:
    """Return the vectors of a request; raises what ``encode`` does."""
    for structure in (*request.structures, *request.words):
        taxonomy[structure]
    names = request.structures or taxonomy.names
    if len(set(names)) != len(names):
        raise UsageError(f"every structure has one row, got {', '.join(names)}")
    kind, _, rest = request.source.partition(":")
    if kind == "open_clip" and rest:
        return StructureVectors(names, _from_open_clip(taxonomy, names, rest, request))
    if request.prompt is not None or request.words or request.quick_gelu is not None:
        raise UsageError(f"prompt, words and quick GELU are open_clip's, not {request.source}'s")
    if kind == "file" and rest:
        return StructureVectors(names, read_text_vectors(Path(rest), count=len(names)))
    if request.source == "one_hot":
        table = OneHotEncoding(len(names)).table
        text = TextVectors.checked(table, Provenance(source="one_hot"), count=len(names))
        return StructureVectors(names, text)
    if request.source == "anatomy":
        return StructureVectors(names, anatomy_vectors(taxonomy, names))
    raise UsageError(f"a source is {SOURCES}; got {request.source!r}")


def open_encoding(store: Store, name: str) -> StructureVectors:
    """Return a stored encoding; raises UsageError for an unknown name."""
    return load_vectors(find_encoding(store, name).path)


def open_clip_model(text: str, quick_gelu: bool | None = None) -> OpenClipModel:  # noqa: FBT001 three states
    """Return the text encoder that ``MODEL/PRETRAINED`` names.

    Args:
        text: An architecture, a slash, and a pretrained tag or a checkpoint file; or
            ``hf-hub:OWNER/MODEL`` or ``local-dir:FOLDER``, which are whole.
        quick_gelu: See ``OpenClipModel``.
    """
    if text.startswith(_WHOLE_NAMES):
        return OpenClipModel(name=text, quick_gelu=quick_gelu)
    architecture, _, weights = text.partition("/")
    return OpenClipModel(name=architecture, weights=weights or None, quick_gelu=quick_gelu)


def _from_open_clip(
    taxonomy: Taxonomy, names: tuple[str, ...], text: str, request: EncodeRequest
) -> TextVectors:
    said = [request.words.get(name, taxonomy[name].spoken) for name in names]
    model = open_clip_model(text, request.quick_gelu)
    return encode_words(model, said, prompt=request.prompt or "tomography")


def _card(vectors: StructureVectors) -> JsonObject:
    provenance = vectors.text.provenance
    return {
        "source": provenance.source,
        "prompt": provenance.prompt,
        "words": dict(zip(vectors.structures, provenance.words, strict=bool(provenance.words))),
        "structures": list(vectors.structures),
        "width": vectors.text.vectors.shape[1],
        "sha256": provenance.sha256,
    }
