"""The backbones that settings may name, and what each may be built with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
BackboneName = Literal["small_unet", "swin_unetr", "unet", "unetpp", "segresnet"]


class BackboneOptions(BaseModel, ABC):
    """Options of one backbone; ``model.build_backbone`` takes them as keywords."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    @abstractmethod
    def stride(self) -> int:
        """Every axis of a patch must be a multiple of this many voxels."""


class SmallUNetOptions(BackboneOptions):
    """See ``model.small_unet``."""

    widths: tuple[Count, ...] = Field(default=(32, 64, 128), min_length=2)
    fold: Count = 2
    out_channels: Count = 16
    coordinates: bool = False

    @property
    def stride(self) -> int:
        """Folding, then a halving a level but the first."""
        return self.fold * 2 ** (len(self.widths) - 1)


class SwinUnetrOptions(BackboneOptions):
    """See ``model.swin_unetr``; the defaults are those of the published weights."""

    feature_size: int = Field(default=48, ge=12, multiple_of=12)
    depths: tuple[Count, Count, Count, Count] = (2, 2, 2, 2)
    num_heads: tuple[Count, Count, Count, Count] = (3, 6, 12, 24)
    use_checkpoint: bool = False

    @property
    def stride(self) -> int:
        """Patches of two voxels, then four mergings."""
        return 32


class UNetOptions(BackboneOptions):
    """See ``model.unet``; the default is that of the published weights."""

    width: Count = 32

    @property
    def stride(self) -> int:
        """Three poolings."""
        return 8


class UNetPlusPlusOptions(BackboneOptions):
    """See ``model.unetpp``; the defaults are those of the published backbone."""

    features: tuple[Count, Count, Count, Count, Count, Count] = (32, 32, 64, 128, 256, 32)

    @property
    def stride(self) -> int:
        """Four poolings."""
        return 16


class SegResNetOptions(BackboneOptions):
    """See ``model.segresnet``."""

    init_filters: int = Field(default=16, ge=8, multiple_of=8)
    blocks_down: tuple[Count, ...] = Field(default=(1, 2, 2, 4), min_length=2)
    blocks_up: tuple[Count, ...] = (1, 1, 1)

    @property
    def stride(self) -> int:
        """A halving a level but the first."""
        return 2 ** (len(self.blocks_down) - 1)


BACKBONE_OPTIONS: Mapping[str, type[BackboneOptions]] = MappingProxyType(
    {
        "small_unet": SmallUNetOptions,
        "swin_unetr": SwinUnetrOptions,
        "unet": UNetOptions,
        "unetpp": UNetPlusPlusOptions,
        "segresnet": SegResNetOptions,
    }
)
