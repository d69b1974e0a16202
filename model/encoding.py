"""How the network is told which structure it is asked for."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn

from configs.errors import ModelError

EncodingKind = Literal["learned", "one_hot", "text"]
WIDTH = 256
_LEAST_NORM = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the vectors of an encoding come from.

    Attributes:
        source: A model and its weights, a file's name, or the kind itself when nothing was read.
        prompt: Sentence with ``{}`` for the words, where one is known.
        words: What was said of each structure, in order; empty when unknown.
        sha256: Digest of the float32 vectors; None when they are trained with the network.
    """

    source: str
    prompt: str | None = None
    words: tuple[str, ...] = ()
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TextVectors:
    """Fixed vectors, one a structure.

    Attributes:
        vectors: Shape (n, D), float32.
        provenance: Where they come from.
    """

    vectors: Tensor
    provenance: Provenance

    @classmethod
    def checked(cls, vectors: Tensor, provenance: Provenance, *, count: int) -> Self:
        """Return the vectors as float32 with their digest.

        Raises:
            ModelError: Not ``count`` finite rows that differ from one another.
        """
        if vectors.dim() != 2 or vectors.shape[0] != count or vectors.shape[1] == 0:
            raise ModelError(
                f"text encodings must have shape ({count}, D), one row a structure, got "
                f"{tuple(vectors.shape)} from {provenance.source}"
            )
        floats = vectors.detach().to("cpu", torch.float32).contiguous()
        if not bool(torch.isfinite(floats).all()):
            raise ModelError(f"text encodings must be finite; those of {provenance.source} are not")
        if torch.unique(floats, dim=0).shape[0] != count:
            raise ModelError(
                f"text encodings must differ between structures; {provenance.source} repeats a row"
            )
        digest = hashlib.sha256(floats.numpy().astype("<f4").tobytes()).hexdigest()
        return cls(
            floats,
            Provenance(
                source=provenance.source,
                prompt=provenance.prompt,
                words=provenance.words,
                sha256=digest,
            ),
        )


class ClassEncoding(nn.Module, ABC):
    """A vector for each structure.

    Attributes:
        kind: Key under which a checkpoint stores it.
        width: Length E of a vector.
        provenance: Where the vectors come from.
    """

    kind: EncodingKind
    width: int
    provenance: Provenance

    @abstractmethod
    def forward(self, index: Tensor | None = None) -> Tensor:
        """Return the vectors (Q, E) of the structures at ``index`` (Q,), or of all."""


class LearnedEncoding(ClassEncoding):
    """A table that is trained with the network."""

    kind = "learned"

    def __init__(self, count: int) -> None:
        super().__init__()
        self.width = WIDTH
        self.table = nn.Parameter(torch.randn(count, WIDTH))
        self.provenance = Provenance(source="learned")

    def forward(self, index: Tensor | None = None) -> Tensor:
        """Return the vectors (Q, 256) of the structures at ``index`` (Q,), or of all."""
        return self.table if index is None else self.table[index]


class OneHotEncoding(ClassEncoding):
    """Structure k is the k-th axis.

    The axes have length 16, the norm of a learned vector's expectation, so that a new controller
    spreads the classes as far apart for this kind as for that one.
    """

    kind = "one_hot"
    table: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.width = count
        self.register_buffer("table", WIDTH**0.5 * torch.eye(count))
        self.provenance = Provenance(source="one_hot")

    def forward(self, index: Tensor | None = None) -> Tensor:
        """Return the vectors (Q, n) of the structures at ``index`` (Q,), or of all."""
        return self.table if index is None else self.table[index]


class TextEncoding(ClassEncoding):
    """Fixed text vectors, projected by a trained layer.

    A new projection takes off what all vectors share, which of a text encoder is most of them, and
    gives the rows that come out the norm of a learned table's.
    """

    kind = "text"
    vectors: Tensor

    def __init__(self, text: TextVectors) -> None:
        super().__init__()
        self.width = WIDTH
        self.register_buffer("vectors", text.vectors.clone())
        self.project = nn.Linear(text.vectors.shape[1], WIDTH)
        self._spread_in_place()
        self.provenance = text.provenance

    def forward(self, index: Tensor | None = None) -> Tensor:
        """Return the vectors (Q, 256) of the structures at ``index`` (Q,), or of all."""
        chosen = self.vectors if index is None else self.vectors[index]
        return torch.relu(self.project(chosen))

    @torch.no_grad()
    def _spread_in_place(self) -> None:
        weight, bias = self.project.weight, self.project.bias
        if len(self.vectors) > 1:
            # A lone vector is its own mean, nothing of it would be left.
            bias.copy_(-(weight @ self.vectors.mean(0)))
        norm = self().square().sum(1).mean().sqrt()
        factor = WIDTH**0.5 / norm.clamp_min(_LEAST_NORM)
        weight.mul_(factor)
        bias.mul_(factor)


def build_encoding(
    kind: str, structures: Sequence[str], text: TextVectors | None = None
) -> ClassEncoding:
    """Return a new encoding of the given kind.

    Raises:
        ModelError: The kind is unknown, or text vectors are missing or of another count.
    """
    if kind == "learned":
        return LearnedEncoding(len(structures))
    if kind == "one_hot":
        return OneHotEncoding(len(structures))
    if kind != "text":
        raise ModelError(f"unknown encoding {kind!r}; known are learned, one_hot, text")
    if text is None:
        raise ModelError("a text encoding needs its vectors; make them with open_clip or a file")
    return TextEncoding(TextVectors.checked(text.vectors, text.provenance, count=len(structures)))
