"""Names and shapes in the files of the published universal model, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from configs.errors import ModelError

# Added by the ways in which networks are run in parallel or compiled, anywhere in a name.
_WITHOUT_MEANING = frozenset({"module", "_orig_mod"})
# Added round the whole network by training frameworks.
_ROUND_ALL = ("model.", "net.", "network.")
_HEAD = ("precls_conv", "GAP", "controller", "organ_embedding", "text_to_vision")
# Ours, and what the published files call it; the first that fits counts.
_NAMES = (
    ("backbone.network.", "backbone."),
    ("backbone.", "backbone."),
    ("head.pool.0.", "GAP.0."),
    ("head.pool.4.", "GAP.3."),
    ("head.norm.", "precls_conv.0."),
    ("head.reduce.", "precls_conv.2."),
    ("head.controller.", "controller."),
    ("encoding.project.", "text_to_vision."),
    ("encoding.vectors", "organ_embedding"),
    ("encoding.table", "organ_embedding.weight"),
)
# Output layers of the backbones, which a universal network does not have.
_OUTPUT_LAYERS = ("backbone.out.", "backbone.out_tr.", "backbone.final_conv_")
# Statistics that the published U-Net keeps and never reads.
_UNREAD = (".running_mean", ".running_var", ".num_batches_tracked")


@dataclass(frozen=True, slots=True)
class PublishedTensors:
    """Tensors under their published names, without ``module.``, those of the backbone nested.

    Attributes:
        layout: Whether the file named them with or without ``backbone.``.
    """

    tensors: Mapping[str, Tensor]
    layout: str


def published_name(ours: str) -> str:
    """Return what the published files call a tensor of ``UniversalNetwork``."""
    for own, published in _NAMES:
        if ours.startswith(own):
            return published + ours.removeprefix(own)
    raise ModelError(f"the published files have no counterpart of {ours}")


def published_tensors(tensors: Mapping[str, Tensor]) -> PublishedTensors:
    """Bring any of the known layouts to one.

    Raises:
        ModelError: Two names of the file mean the same tensor.
    """
    stripped = {_stripped(name): tensor for name, tensor in tensors.items()}
    for prefix in _ROUND_ALL:
        if all(name.startswith(prefix) for name in stripped):
            stripped = {name.removeprefix(prefix): value for name, value in stripped.items()}
    nested = any(name.startswith("backbone.") for name in stripped)
    named = {name if nested else _nested(name): tensor for name, tensor in stripped.items()}
    if len(named) != len(tensors):
        raise ModelError(
            f"names must stay different without their wrappers, {len(tensors)} became {len(named)}"
        )
    return PublishedTensors(named, "nested" if nested else "flat")


def is_not_needed(name: str) -> bool:
    """Whether a network works without this published tensor because it never reads it."""
    return name.startswith(_OUTPUT_LAYERS) or (".bn1." in name and name.endswith(_UNREAD))


def recognised_backbone(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Return the backbone's name and options, by the names and shapes of its tensors.

    Raises:
        ModelError: It is none that can be built here.
    """
    if any(name.startswith("encoding.") for name in tensors):
        raise ModelError(
            "this looks like a checkpoint of AtlasLoop; those of this workspace need no import "
            "(`atlasloop weights list`), those of another cannot be imported"
        )
    names = {name.removeprefix("backbone.") for name in tensors}
    for mark, backbone, options in _BACKBONES:
        if any(name.startswith(mark) for name in names):
            return backbone, options(tensors)
    if any("cell_tree" in name or name.startswith(("dints", "stem_down")) for name in names):
        raise ModelError(
            "this is a file of DiNTS, which is not supported yet; take the Swin UNETR or the U-Net"
        )
    beginnings = sorted({name.split(".")[0] for name in names})[:8]
    known = ", ".join(backbone for _, backbone, _ in _BACKBONES)
    raise ModelError(
        f"the backbone must be one of {known}, known by its tensors' names; this file's begin "
        f"with {', '.join(beginnings)}"
    )


def _stripped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WITHOUT_MEANING)


def _nested(name: str) -> str:
    return name if name.split(".")[0] in _HEAD else f"backbone.{name}"


def _size(tensors: Mapping[str, Tensor], name: str, axis: int, *, default: int) -> int:
    """Return a tensor's length; a missing one is reported later, with all that is missing."""
    tensor = tensors.get(f"backbone.{name}")
    return default if tensor is None or tensor.dim() <= axis else tensor.shape[axis]


def _swin_unetr(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    stages = [f"swinViT.layers{stage}.0.blocks." for stage in (1, 2, 3, 4)]
    table = "0.attn.relative_position_bias_table"
    depths = []
    for stage in stages:
        place = f"backbone.{stage}"
        blocks = {n.removeprefix(place).split(".")[0] for n in tensors if n.startswith(place)}
        depths.append(len(blocks) or 2)
    return {
        "feature_size": _size(tensors, "swinViT.patch_embed.proj.weight", 0, default=48),
        "depths": depths,
        "num_heads": [
            _size(tensors, stage + table, 1, default=heads)
            for stage, heads in zip(stages, (3, 6, 12, 24), strict=True)
        ],
    }


def _unet(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"width": _size(tensors, "down_tr64.ops.0.conv1.weight", 0, default=32)}


def _unetpp(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    first = ("conv_0_0", *(f"conv_{level}_0.convs" for level in (1, 2, 3, 4)), "upcat_0_4.convs")
    widths = (32, 32, 64, 128, 256, 32)
    return {
        "features": [
            _size(tensors, f"{part}.conv_0.conv.weight", 0, default=width)
            for part, width in zip(first, widths, strict=True)
        ]
    }


def _segresnet(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"init_filters": _size(tensors, "convInit.conv.weight", 0, default=16)}


_BACKBONES: tuple[tuple[str, str, Callable[[Mapping[str, Tensor]], dict[str, Any]]], ...] = (
    ("swinViT.", "swin_unetr", _swin_unetr),
    ("down_tr64.", "unet", _unet),
    ("upcat_0_4.", "unetpp", _unetpp),
    ("convInit.", "segresnet", _segresnet),
)
