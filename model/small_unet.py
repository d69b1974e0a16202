"""A small convolutional backbone that trains on a CPU in under a minute."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from configs.errors import ModelError
from model.backbone import Backbone


class SmallUNet(Backbone):
    """A U-Net with instance norm: two convolutions a level, strided down, interpolated up.

    Instance norm makes the result of a patch independent of its neighbours in the batch. Going up
    is a 1x1x1 convolution at the coarse level and then interpolation, an eighth of the cost of a
    transposed convolution at the fine one.
    """

    def __init__(self, *, widths: Sequence[int] = (16, 32, 64, 128)) -> None:
        """Build the network.

        Args:
            widths: Channels of each level, finest first; each level halves the resolution.

        Raises:
            ModelError: Fewer than two levels, or a width below 1.
        """
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ModelError(f"widths must be two or more positive numbers, got {tuple(widths)}")
        self.out_channels = widths[0]
        self.bottleneck_channels = widths[-1]
        self.stride = 2 ** (len(widths) - 1)
        self.encoders = nn.ModuleList(
            _double_convolution(before, after, stride=1 if level == 0 else 2)
            for level, (before, after) in enumerate(zip((1, *widths), widths, strict=False))
        )
        pairs = list(itertools.pairwise(widths))
        self.lifts = nn.ModuleList(nn.Conv3d(coarse, fine, 1) for fine, coarse in pairs)
        self.decoders = nn.ModuleList(
            _double_convolution(2 * fine, fine, stride=1) for fine, _ in pairs
        )

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the features of each level but the last, finest first, and the last level's."""
        features = images.contiguous(memory_format=torch.channels_last_3d)
        levels: list[Tensor] = []
        for encoder in self.encoders:
            features = encoder(features)
            levels.append(features)
        return levels[:-1], levels[-1]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return decoder features with ``widths[0]`` channels."""
        features = bottleneck
        for level in range(len(skips) - 1, -1, -1):
            lifted = self.lifts[level](features)
            lifted = nn.functional.interpolate(lifted, scale_factor=2.0, mode="nearest")
            features = self.decoders[level](torch.cat((lifted, skips[level]), dim=1))
        return features


def _double_convolution(before: int, after: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.InstanceNorm3d(after, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
        nn.Conv3d(after, after, 3, padding=1, bias=False),
        nn.InstanceNorm3d(after, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    )
