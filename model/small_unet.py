"""A small convolutional backbone that trains on a CPU in under a minute."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.errors import ModelError
from model.backbone import Backbone
from model.instance_norm import instance_norm
from model.pointwise import pointwise


class SmallUNet(Backbone):
    """A U-Net with instance norm: two convolutions a level, strided down, interpolated up.

    With ``fold`` f above 1 every cube of f x f x f voxels first becomes one voxel with f^3
    channels, and the last layer unfolds its channels again: no convolution runs at full
    resolution, where it would cost the most and see the least.

    Instance norm makes the result of a patch independent of its neighbours in the batch. Going up
    is a 1x1x1 convolution at the coarse level and then interpolation, an eighth of the cost of a
    transposed convolution at the fine one.

    With ``coordinates`` the finest level also sees where in the patch it is. A patch that is as
    wide as the body then tells left from right, which a network this shallow is slow to learn.

    Source:
        U-Net: Ronneberger et al. 2015. Folding: Shi et al. 2016 (sub-pixel convolution).
        Coordinates: Liu et al. 2018 (CoordConv).
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 128),
        fold: int = 2,
        out_channels: int = 16,
        coordinates: bool = False,
    ) -> None:
        """Build the network.

        Args:
            widths: Channels of each level, finest first; each level halves the resolution.
            fold: Edge of the cube of voxels that the finest level sees as one.
            out_channels: Channels of the decoder's output at full resolution.
            coordinates: Whether three channels with the place in the patch, from -1 to 1, go
                beside the image.

        Raises:
            ModelError: Fewer than two levels, or a number below 1.
        """
        super().__init__()
        if len(widths) < 2 or min(*widths, fold, out_channels) < 1:
            raise ModelError(
                "small_unet takes two or more positive widths, a positive fold and positive "
                f"out_channels, got {tuple(widths)}, {fold} and {out_channels}"
            )
        self.fold = fold
        self.coordinates = coordinates
        self.out_channels = out_channels
        self.bottleneck_channels = widths[-1]
        self.stride = fold * 2 ** (len(widths) - 1)
        seen = fold**3 + (3 if coordinates else 0)
        self.encoders = nn.ModuleList(
            _double_convolution(before, after, stride=1 if level == 0 else 2)
            for level, (before, after) in enumerate(zip((seen, *widths), widths, strict=False))
        )
        pairs = list(itertools.pairwise(widths))
        self.lifts = nn.ModuleList(nn.Conv3d(coarse, fine, 1) for fine, coarse in pairs)
        self.decoders = nn.ModuleList(
            _double_convolution(2 * fine, fine, stride=1) for fine, _ in pairs
        )
        self.unfold = nn.Conv3d(widths[0], out_channels * fold**3, 1)

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the features of each level but the last, finest first, and the last level's."""
        features = fold_voxels(images, self.fold)
        if self.coordinates:
            features = torch.cat((features, _places(features)), dim=1)
        levels: list[Tensor] = []
        for encoder in self.encoders:
            features = encoder(features)
            levels.append(features)
        return levels[:-1], levels[-1]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return decoder features with ``out_channels`` channels at full resolution."""
        features = bottleneck
        for level in range(len(skips) - 1, -1, -1):
            lifted = pointwise(cast(nn.Conv3d, self.lifts[level]), features)
            lifted = functional.interpolate(lifted, scale_factor=2.0, mode="nearest")
            features = self.decoders[level](torch.cat((lifted, skips[level]), dim=1))
        return unfold_voxels(pointwise(self.unfold, features), self.fold)


def fold_voxels(images: Tensor, edge: int) -> Tensor:
    """Return (B, C f^3, I/f, J/f, K/f) from (B, C, I, J, K) for cubes of edge f."""
    if edge == 1:
        return images
    batch, channels, *size = images.shape
    i, j, k = (length // edge for length in size)
    cubes = images.reshape(batch, channels, i, edge, j, edge, k, edge)
    return cubes.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * edge**3, i, j, k)


def unfold_voxels(features: Tensor, edge: int) -> Tensor:
    """Undo ``fold_voxels``: (B, C f^3, i, j, k) becomes (B, C, f i, f j, f k)."""
    if edge == 1:
        return features
    batch, channels, i, j, k = features.shape
    cubes = features.reshape(batch, channels // edge**3, edge, edge, edge, i, j, k)
    return cubes.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, -1, edge * i, edge * j, edge * k)


def _places(features: Tensor) -> Tensor:
    """Return the place of every voxel from -1 to 1 along each axis, shape (B, 3, i, j, k)."""
    size = features.shape[2:]
    axes = [torch.linspace(-1, 1, length, device=features.device) for length in size]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")).to(features.dtype)
    return places.expand(features.shape[0], -1, *size)


def _double_convolution(before: int, after: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(before, after, 3, stride=stride, padding=1, bias=False),
        instance_norm(after),
        nn.LeakyReLU(0.01, inplace=True),
        nn.Conv3d(after, after, 3, padding=1, bias=False),
        instance_norm(after),
        nn.LeakyReLU(0.01, inplace=True),
    )
