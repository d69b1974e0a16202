"""The backbones by name; the only place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from configs.errors import ModelError
from model.backbone import Backbone
from model.segresnet import SegResNetBackbone
from model.small_unet import SmallUNet
from model.swin_unetr import SwinUnetrBackbone
from model.unet import UNet
from model.unetpp import UNetPlusPlus

BACKBONES: Mapping[str, Callable[..., Backbone]] = {
    "segresnet": SegResNetBackbone,
    "small_unet": SmallUNet,
    "swin_unetr": SwinUnetrBackbone,
    "unet": UNet,
    "unetpp": UNetPlusPlus,
}


def build_backbone(name: str, **options: Any) -> Backbone:  # noqa: ANN401  # options are JSON
    """Return a new backbone with random weights.

    Raises:
        ModelError: The name or an option is unknown, or the options do not fit together.
    """
    if name not in BACKBONES:
        raise ModelError(f"unknown backbone {name!r}; known are {', '.join(sorted(BACKBONES))}")
    try:
        backbone = BACKBONES[name](**options)
    except TypeError as error:
        raise ModelError(f"backbone {name!r} does not take the options {options}") from error
    backbone.name = name
    backbone.options = options
    return backbone
