"""A deterministic encoding from what the taxonomy says of each structure; needs no text model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from configs.taxonomy import Structure, Taxonomy
from model.encoding import Provenance, TextVectors

SOURCE = "anatomy 1"
"""Written into checkpoints; another formula gets another number."""
WIDTH = 512
WAVELENGTH_MM = 600.0
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "itself": 0.30,
        "kind": 0.30,
        "parents": 0.15,
        "group": 0.15,
        "neighbours": 0.10,
        "side": 0.05,
        "centre": 0.15,
    }
)
"""Share of each part in the squared length of a vector that has all of them."""

_CENTRE_WIDTH = 6
_NAME_WIDTH = WIDTH - _CENTRE_WIDTH

Row = npt.NDArray[np.float64]


def anatomy_vectors(taxonomy: Taxonomy, structures: Sequence[str]) -> TextVectors:
    """Return one vector a structure, made of what the taxonomy says of it.

    Every term t has a fixed direction h(t): plus or minus one, by the bits of the SHA-256 of its
    text, scaled to length 1. Two directions have a cosine of about 0 (standard deviation 0.044).
    With w the ``WEIGHTS``, the row of structure s is the sum of

    - sqrt(w.itself) h(name of s);
    - sqrt(w.kind) h(kind of s): the name without its side, which a pair shares, or the first name
      of a group of ``same_anatomy``;
    - sqrt(w.parents) times the unit sum of h(kind) over the parents' kinds, each counted once;
    - sqrt(w.group) h(organ, tumor or cyst);
    - sqrt(w.neighbours) times the unit sum of h(name) over the exclusive neighbours that stand
      before s in the taxonomy;
    - sqrt(w.side) h(side);
    - sqrt(w.centre) times sine and cosine of 2 pi x / 600 mm of the three coordinates of the
      centre, over sqrt(3); of a structure without a centre the mean over its parents,

    parts that s lacks left out, and is scaled to length sqrt(512), a mean square of 1 a component.
    Here "the unit sum" of n directions is their sum over sqrt(n).

    A row leans on its structure and on those before it alone: structures that are appended to the
    taxonomy leave it bit by bit as it is.

    Args:
        taxonomy: Says what is what.
        structures: Of which to return the rows, in order.

    Raises:
        UsageError: A name is unknown.

    Source:
        Ours. Sums of random sign vectors as codes of sets of terms: Kanerva 2009 (hyperdimensional
        computing); signs suffice: Achlioptas 2003.
    """
    rows = np.stack([_row(taxonomy, taxonomy[name]) for name in structures])
    vectors = torch.from_numpy(rows.astype(np.float32))
    return TextVectors.checked(vectors, Provenance(source=SOURCE), count=len(structures))


def _row(taxonomy: Taxonomy, structure: Structure) -> Row:
    row = np.zeros(WIDTH)
    for part, terms in _terms(taxonomy, structure):
        if terms:
            share = math.sqrt(WEIGHTS[part] / len(terms))
            for term in terms:
                row[:_NAME_WIDTH] += share * _direction(term)
    row[_NAME_WIDTH:] = math.sqrt(WEIGHTS["centre"]) * _centre(taxonomy, structure)
    # fsum: exact, so the same on every machine.
    length = math.sqrt(math.fsum(value * value for value in row.tolist()))
    return row * (math.sqrt(WIDTH) / length)


def _terms(taxonomy: Taxonomy, structure: Structure) -> Iterator[tuple[str, list[str]]]:
    names = taxonomy.names
    before = names[: names.index(structure.name)]
    parents = {f"kind {_kind(taxonomy, taxonomy[name])}": None for name in structure.parents}
    yield "itself", [f"structure {structure.name}"]
    yield "kind", [f"kind {_kind(taxonomy, structure)}"]
    yield "parents", list(parents)
    yield "group", [f"group {structure.group}"]
    yield "neighbours", [f"structure {name}" for name in before if name in structure.exclusive]
    yield "side", [f"side {structure.side}"] if structure.side else []


def _kind(taxonomy: Taxonomy, structure: Structure) -> str:
    for group in taxonomy.same_anatomy.values():
        if structure.name in group:
            return min(group, key=taxonomy.names.index)
    return structure.unsided_name


def _direction(term: str) -> Row:
    digest = b"".join(hashlib.sha256(f"{term} {part}".encode()).digest() for part in range(2))
    bits = np.unpackbits(np.frombuffer(digest, np.uint8))[:_NAME_WIDTH].astype(np.float64)
    return (2.0 * bits - 1.0) / math.sqrt(_NAME_WIDTH)


def _centre(taxonomy: Taxonomy, structure: Structure) -> Row:
    if structure.centre_mm is not None:
        angles = [2 * math.pi * mm / WAVELENGTH_MM for mm in structure.centre_mm]
        waves = [wave for angle in angles for wave in (math.sin(angle), math.cos(angle))]
        return np.array([round(wave / math.sqrt(3), 9) for wave in waves])
    total = np.zeros(_CENTRE_WIDTH)
    for name in structure.parents:
        total += _centre(taxonomy, taxonomy[name]) / len(structure.parents)
    return total
