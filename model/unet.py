"""The three-dimensional U-Net of the published universal weights, with instance norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from configs.errors import ModelError
from model.backbone import Backbone
from model.instance_norm import instance_norm


class UNet(Backbone):
    """Four levels of two convolutions each, max-pooled down, transposed convolutions up.

    The published network normalises with the statistics of the batch at hand, in evaluation too,
    so that a patch's result depends on its neighbours in the batch. Instance norm with the same
    weight and bias gives what that one gives for a batch of one, whatever the batch. Its running
    statistics are never read; a published file's are left aside.

    Parts are named as in the published files, whose numbers are the channels of each level at the
    default width. With it there are 19,073,600 parameters.

    Source:
        Zhou et al. 2019 (Models Genesis) for the layout; Liu et al. 2023 (CLIP-driven universal
        model) for the weights.
    """

    def __init__(self, *, width: int = 32) -> None:
        """Build the network.

        Args:
            width: Channels of the very first convolution; each level ends with twice the channels
                that it began with.

        Raises:
            ModelError: The width is below 1.
        """
        super().__init__()
        if width < 1:
            raise ModelError(f"unet takes a positive width, got {width}")
        self.down_tr64 = _Down(1, width)
        self.down_tr128 = _Down(2 * width, 2 * width)
        self.down_tr256 = _Down(4 * width, 4 * width)
        self.down_tr512 = _Down(8 * width, 8 * width)
        self.up_tr256 = _Up(16 * width, 8 * width)
        self.up_tr128 = _Up(8 * width, 4 * width)
        self.up_tr64 = _Up(4 * width, 2 * width)
        self.out_channels = 2 * width
        self.bottleneck_channels = 16 * width
        self.stride = 8

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return three skips, finest first (1, 1/2, 1/4), and the bottleneck at 1/8."""
        skips: list[Tensor] = []
        features = images
        for level in (self.down_tr64, self.down_tr128, self.down_tr256):
            before_pooling = level(features)
            skips.append(before_pooling)
            features = nn.functional.max_pool3d(before_pooling, 2)
        return skips, self.down_tr512(features)

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return decoder features with ``2 width`` channels at full resolution."""
        features = self.up_tr256(bottleneck, skips[2])
        features = self.up_tr128(features, skips[1])
        return self.up_tr64(features, skips[0])


class _ConvNormRelu(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(before, after, 3, padding=1)
        self.bn1 = instance_norm(after)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu_(self.bn1(self.conv1(features)))


class _Down(nn.Module):
    """A level on the way down: to ``width`` channels, then to twice as many."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.ops = nn.Sequential(_ConvNormRelu(before, width), _ConvNormRelu(width, 2 * width))

    def forward(self, features: Tensor) -> Tensor:
        return self.ops(features)


class _Up(nn.Module):
    """A level on the way up: the coarser one keeps its channels and comes before the skip."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(coarse, coarse, 2, stride=2)
        self.ops = nn.Sequential(_ConvNormRelu(coarse + fine, fine), _ConvNormRelu(fine, fine))

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        return self.ops(torch.cat((self.up_conv(features), skip), dim=1))
