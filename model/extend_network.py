"""Give a trained network further structures; what it knows of the old ones stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.errors import ModelError
from model.encoding import Provenance, TextEncoding, TextVectors
from model.structure_vectors import StructureVectors
from model.universal import UniversalNetwork, build_network

# Two machines may compute the same text features with other roundings.
_RTOL, _ATOL = 1e-3, 1e-4


def extend_network(
    network: UniversalNetwork,
    added: Sequence[str],
    *,
    vectors: StructureVectors | None = None,
    seed: int = 0,
) -> UniversalNetwork:
    """Return a network that knows more structures; the one given is not changed.

    Every weight and every row of the encoding is copied bit by bit; what is new stands behind it,
    so that the logits of the old structures are the same. A learned row, or the weights that a new
    axis of a one-hot encoding meets, start at random; a fixed row comes from ``vectors``.

    Args:
        network: On the CPU.
        added: Names of the new structures, in the order of the new channels.
        vectors: Where the network's fixed vectors come from, with rows of the new structures;
            rows of old structures among them must be those of the network.
        seed: Of what starts at random.

    Raises:
        ModelError: A structure is there already, or the vectors are missing or of another origin.
    """
    known = sorted(set(added) & set(network.structures))
    if known or not added:
        raise ModelError(
            f"a network is extended by structures that it lacks, got {known or 'none'}"
        )
    text = _rows(network.encoding, network.structures, added, vectors)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        extended = build_network(
            network.backbone.name,
            network.backbone.options,
            encoding=network.encoding.kind,
            structures=(*network.structures, *added),
            text=text,
            head=network.head.kind,
        )
    state = extended.state_dict()
    for name, old in network.state_dict().items():
        state[name][tuple(slice(0, size) for size in old.shape)] = old
    extended.load_state_dict(state)
    return extended.eval()


def _rows(
    encoding: object,
    structures: Sequence[str],
    added: Sequence[str],
    vectors: StructureVectors | None,
) -> TextVectors | None:
    """Return the old rows with the new ones behind them; None for an encoding without text."""
    if not isinstance(encoding, TextEncoding):
        return None
    if vectors is None:
        raise ModelError(
            f"the network tells structures apart by vectors from {encoding.provenance.source}; "
            f"name a stored encoding from there with rows of {', '.join(added)}"
        )
    _check_origin(encoding.vectors, structures, vectors)
    new, old = vectors.rows_of(added), encoding.provenance
    words = (*old.words, *new.provenance.words)
    provenance = Provenance(
        source=old.source,
        prompt=old.prompt,
        words=words if len(words) == len(structures) + len(added) else (),
    )
    rows = torch.cat([encoding.vectors, new.vectors])
    return TextVectors.checked(rows, provenance, count=len(rows))


def _check_origin(rows: Tensor, structures: Sequence[str], vectors: StructureVectors) -> None:
    common = [name for name in structures if name in vectors.structures]
    source = vectors.text.provenance.source
    if not common:
        raise ModelError(
            f"the encoding from {source} has no row of a structure that the network knows, so "
            "nobody can tell whether both come from one model; encode the old structures as well"
        )
    theirs = vectors.rows_of(common).vectors
    ours = rows[[structures.index(name) for name in common]]
    if theirs.shape != ours.shape:
        raise ModelError(
            f"the network's vectors have {ours.shape[1]} components, those from {source} "
            f"{theirs.shape[1]}; encode with the model and prompt that it was trained with"
        )
    same = torch.isclose(ours, theirs, rtol=_RTOL, atol=_ATOL).all(dim=1)
    if not bool(same.all()):
        other = [name for name, equal in zip(common, same.tolist(), strict=True) if not equal]
        raise ModelError(
            f"the network was trained with other vectors of {', '.join(other[:5])} than those from "
            f"{source}; encode with the model, prompt and words that it was trained with"
        )
