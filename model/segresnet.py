"""MONAI's SegResNet as a backbone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from configs.errors import ModelError
from model.backbone import Backbone


class SegResNetBackbone(Backbone):
    """SegResNet without its output layer: residual blocks, strided down, interpolated up.

    Source:
        Myronenko 2018 (the network without its variational branch).
    """

    def __init__(
        self,
        *,
        init_filters: int = 16,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
        blocks_up: Sequence[int] = (1, 1, 1),
    ) -> None:
        """Build the network.

        Args:
            init_filters: Channels of the finest level, a multiple of 8; each level has twice those
                of the one before.
            blocks_down: Residual blocks of each level, finest first.
            blocks_up: Residual blocks of each level on the way up, coarsest first.

        Raises:
            ModelError: The options do not fit one another.
        """
        super().__init__()
        if init_filters < 8 or init_filters % 8 or len(blocks_up) != len(blocks_down) - 1:
            raise ModelError(
                "segresnet takes init_filters that 8 divides and one entry of blocks_up fewer than "
                f"of blocks_down, got {init_filters}, {tuple(blocks_up)} and {tuple(blocks_down)}"
            )
        # Importing MONAI takes seconds and brings nibabel; who wants another backbone is spared.
        from monai.networks.nets.segresnet import SegResNet

        network = SegResNet(
            init_filters=init_filters,
            in_channels=1,
            use_conv_final=False,
            blocks_down=tuple(blocks_down),
            blocks_up=tuple(blocks_up),
        )
        del network.conv_final
        self.network = network
        self.out_channels = init_filters
        self.stride = 2 ** len(blocks_up)
        self.bottleneck_channels = init_filters * self.stride

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the features of each level but the last, finest first, and the last level's."""
        bottleneck, levels = self.network.encode(images)
        return levels[:-1], bottleneck

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return decoder features with ``init_filters`` channels at full resolution."""
        return self.network.decode(bottleneck, [bottleneck, *reversed(skips)])
