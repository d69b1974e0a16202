"""The part of a network that turns an image into features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from configs.errors import ModelError
from model.feature_bundle import FeatureBundle


class Backbone(nn.Module, ABC):
    """An encoder and a decoder.

    Encode and decode are apart so that a family may change the bottleneck between them.

    Attributes:
        name: Key in the list of backbones, and ``options`` what it was built with; both are set by
            ``build_backbone`` and stored in checkpoints.
        out_channels: Channels Cf of the decoder's output.
        bottleneck_channels: Channels Cz of the bottleneck.
        stride: Every axis of the input must be a multiple of this many voxels.
    """

    name: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    out_channels: int
    bottleneck_channels: int
    stride: int

    @abstractmethod
    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the skip features, finest first, and the bottleneck of (B, 1, I, J, K) images."""

    @abstractmethod
    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return decoder features (B, Cf, I, J, K)."""

    def forward(self, images: Tensor) -> FeatureBundle:
        """Return the features of (B, 1, I, J, K) images.

        Raises:
            ModelError: The shape is not (B, 1, I, J, K) with axes that are multiples of ``stride``.
        """
        self._check(images)
        skips, bottleneck = self.encode(images)
        return FeatureBundle(dec=self.decode(bottleneck, skips), bottleneck=bottleneck)

    def _check(self, images: Tensor) -> None:
        if images.dim() != 5 or images.shape[1] != 1:
            raise ModelError(f"images must have shape (B, 1, I, J, K), got {tuple(images.shape)}")
        if any(size == 0 or size % self.stride for size in images.shape[2:]):
            raise ModelError(
                f"each image axis must be a multiple of {self.stride} voxels, got "
                f"{tuple(images.shape[2:])}; pad the image or choose another patch"
            )
