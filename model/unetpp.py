"""MONAI's UNet++ as a backbone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.errors import ModelError
from model.backbone import Backbone


class UNetPlusPlus(Backbone):
    """UNet++ without its output layers.

    With the default widths it has the 6,979,712 parameters of the published backbone.

    Source:
        Zhou et al. 2018 (UNet++); widths as the CLIP-driven universal model, ICCV 2023.
    """

    def __init__(self, *, features: Sequence[int] = (32, 32, 64, 128, 256, 32)) -> None:
        """Build the network.

        Args:
            features: Channels of the five levels, finest first, and of the decoder's output.

        Raises:
            ModelError: Not six even numbers above 0.
        """
        super().__init__()
        if len(features) != 6 or any(width < 2 or width % 2 for width in features):
            raise ModelError(f"unetpp takes six even features above 0, got {tuple(features)}")
        # Importing MONAI takes seconds and brings nibabel; who wants another backbone is spared.
        from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus

        network = BasicUNetPlusPlus(features=tuple(features))
        for number in range(1, 5):
            delattr(network, f"final_conv_0_{number}")
        self.network = network
        self.out_channels = features[5]
        self.bottleneck_channels = features[4]
        self.stride = 16

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return four skips, finest first (1, 1/2, 1/4, 1/8), and the bottleneck at 1/16."""
        network = self.network
        finest = network.conv_0_0(images)
        half = network.conv_1_0(finest)
        quarter = network.conv_2_0(half)
        eighth = network.conv_3_0(quarter)
        return [finest, half, quarter, eighth], network.conv_4_0(eighth)

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return decoder features at full resolution.

        A node of a level reads the one below and all before it in its own level.
        """
        levels = [[features] for features in (*skips, bottleneck)]
        for column in range(1, 5):
            for row in range(5 - column):
                node = getattr(self.network, f"upcat_{row}_{column}")
                below = levels[row + 1][column - 1]
                levels[row].append(node(below, torch.cat(levels[row], dim=1)))
        return levels[0][4]
