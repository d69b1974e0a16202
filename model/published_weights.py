"""A published universal checkpoint as a network of ours: all of it, or an error that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from configs.errors import ModelError
from model.encoding import Provenance, TextVectors
from model.inference_settings import InferenceSettings
from model.published_layout import (
    is_not_needed,
    published_name,
    published_tensors,
    recognised_backbone,
)
from model.universal import UniversalNetwork, build_network

PUBLISHED_INFERENCE = InferenceSettings(
    spacing_mm=(1.5, 1.5, 1.5), hu_window=(-175.0, 250.0), patch=(96, 96, 96), overlap=0.5
)
"""How the published weights want to see a volume.

Source:
    Liu et al. 2023 (CLIP-driven universal model).
"""

# Text features of structures are much alike: of the published ones no two are below 0.75.
_LEAST_TEXT_COSINE = 0.3
_NAMES_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What was found in a file.

    Attributes:
        backbone: Recognised from the tensors' names, ``options`` from their shapes.
        encoding: ``text`` or ``learned``.
        layout: ``nested`` or ``flat``: with or without ``backbone.`` in the names.
        matched: Tensors of the file that are in the network.
        not_needed: Tensors that a network never reads, left out.
        warnings: What a person should look at.
    """

    backbone: str
    options: Mapping[str, Any]
    encoding: str
    layout: str
    matched: int
    not_needed: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportedNetwork:
    """A network with a file's weights, in evaluation mode, and the report of the import."""

    network: UniversalNetwork
    report: ImportReport


def import_published(
    tensors: Mapping[str, Tensor], structures: Sequence[str], text: TextVectors | None = None
) -> ImportedNetwork:
    """Build the network that the tensors belong to and give it every one of them.

    Args:
        tensors: By the names of the file.
        structures: Names in the order of the file's classes.
        text: Text encodings, for a file that comes without its own.

    Raises:
        ModelError: Another kind of network, another number of classes, missing or other text
            encodings, or any tensor that is missing, unexpected or of another shape.
    """
    found = published_tensors(tensors)
    backbone, options = recognised_backbone(found.tensors)
    if "controller.weight" not in found.tensors:
        raise ModelError(
            f"this is a {backbone} without the universal head (no controller), such as weights "
            "for initialising or a model of fixed classes; import a universal checkpoint"
        )
    kind, vectors = _encoding(found.tensors, structures, text)
    with torch.random.fork_rng(devices=[]):
        network = build_network(
            backbone, options, encoding=kind, structures=structures, text=vectors
        )
    given = dict(found.tensors)
    if vectors is not None:
        given["organ_embedding"] = vectors.vectors
    network.load_state_dict(_fitted(network, given))
    not_needed = tuple(sorted(name for name in found.tensors if is_not_needed(name)))
    report = ImportReport(
        backbone=backbone,
        options=options,
        encoding=kind,
        layout=found.layout,
        matched=len(found.tensors) - len(not_needed),
        not_needed=not_needed,
        warnings=_warnings(vectors),
    )
    return ImportedNetwork(network.eval(), report)


def _encoding(
    tensors: Mapping[str, Tensor], structures: Sequence[str], text: TextVectors | None
) -> tuple[str, TextVectors | None]:
    learned = tensors.get("organ_embedding.weight")
    if learned is not None:
        _check_count(learned, structures)
        if text is not None:
            raise ModelError(
                "the class vectors in this file were learned with it and take no text encodings; "
                "leave out --text-encoding"
            )
        return "learned", None
    projection = tensors.get("text_to_vision.weight")
    if projection is None or projection.dim() != 2:
        raise ModelError(
            "a universal checkpoint holds organ_embedding.weight, or text_to_vision.weight of two "
            f"axes, this file has {sorted(n for n in tensors if n.startswith(('organ', 'text')))}"
        )
    vectors = _text_vectors(tensors.get("organ_embedding"), structures, text)
    if vectors.vectors.shape[1] != projection.shape[1]:
        raise ModelError(
            f"the text encodings of {vectors.provenance.source} are {vectors.vectors.shape[1]} "
            f"numbers long, the weights take {projection.shape[1]}; give those that the weights "
            "were trained with"
        )
    return "text", vectors


def _text_vectors(
    own: Tensor | None, structures: Sequence[str], text: TextVectors | None
) -> TextVectors:
    if own is None:
        if text is not None:
            return text
        raise ModelError(
            "this file comes without its text encodings, and random ones would give random "
            "labels; give those that it was trained with: --text-encoding FILE, one tensor of "
            f"shape ({len(structures)}, D) as .pth, .npy or .safetensors"
        )
    _check_count(own, structures)
    mine = TextVectors.checked(
        own, Provenance(source="the imported checkpoint"), count=len(structures)
    )
    if text is None:
        return mine
    if text.vectors.shape != mine.vectors.shape or not torch.allclose(
        text.vectors, mine.vectors, rtol=1e-3, atol=1e-3
    ):
        raise ModelError(
            f"the text encodings of {text.provenance.source} differ from those in the weights "
            "file, which it was trained with; leave out --text-encoding to take the latter"
        )
    return TextVectors.checked(mine.vectors, text.provenance, count=len(structures))


def _check_count(vectors: Tensor, structures: Sequence[str]) -> None:
    if vectors.dim() != 2 or vectors.shape[0] != len(structures):
        raise ModelError(
            f"a universal checkpoint has {len(structures)} classes, in the order of the taxonomy; "
            f"the class vectors of this file have shape {tuple(vectors.shape)}; files of 9, 25 or "
            "31 classes belong to other taxonomies and cannot be imported"
        )


def _fitted(network: UniversalNetwork, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return every tensor of the network from the given ones.

    Raises:
        ModelError: One is missing, unexpected or does not fit.
    """
    ours = network.state_dict()
    wanted = {published_name(name): name for name in ours}
    missing = sorted(wanted.keys() - given.keys())
    unexpected = sorted(n for n in given.keys() - wanted.keys() if not is_not_needed(n))
    common = sorted(wanted.keys() & given.keys())
    unfit = [
        f"{name} {tuple(given[name].shape)} for {tuple(ours[wanted[name]].shape)}"
        for name in common
        if not _fits(given[name], ours[wanted[name]])
    ]
    if missing or unexpected or unfit:
        raise ModelError(
            f"every tensor of {network.backbone.name} with its head must be in the file and every "
            f"tensor of the file in the network; {len(common) - len(unfit)} match; missing "
            f"{_listed(missing)}; unexpected {_listed(unexpected)}; of another shape or type "
            f"{_listed(unfit)}; nothing was imported"
        )
    return {wanted[name]: _as(given[name], ours[wanted[name]], name) for name in common}


def _fits(tensor: Tensor, ours: Tensor) -> bool:
    # Published 1x1x1 convolutions of single values are matrix products here.
    shapes = (tuple(ours.shape), (*ours.shape, 1, 1, 1) if ours.dim() == 2 else None)
    return tuple(tensor.shape) in shapes and (
        tensor.is_floating_point() == ours.is_floating_point() and not tensor.is_complex()
    )


def _as(tensor: Tensor, ours: Tensor, name: str) -> Tensor:
    fitted = tensor.reshape(ours.shape).to(ours.dtype)
    if not ours.is_floating_point() and not torch.equal(fitted, ours):
        raise ModelError(
            f"{name} of the file holds other numbers than this network's, as from another window "
            "size; such weights would be read wrongly"
        )
    if ours.is_floating_point() and not bool(torch.isfinite(fitted).all()):
        raise ModelError(f"weights must be finite; {name} of the file is not")
    return fitted


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{len(names)} ({shown}{f' and {more} more' if more > 0 else ''})" if names else "0"


def _warnings(text: TextVectors | None) -> tuple[str, ...]:
    if text is None or len(text.vectors) < 2:
        return ()
    rows = functional.normalize(text.vectors, dim=1)
    count = len(rows)
    mean = float(((rows @ rows.T).sum() - count) / (count * (count - 1)))
    if mean >= _LEAST_TEXT_COSINE:
        return ()
    return (
        f"the text encodings look like random numbers (mean cosine {mean:.2f}, text has 0.7 to "
        "1.0): the weights may have been trained without their text, and will label accordingly",
    )
