"""MONAI's Swin UNETR as a backbone, merging patches in the order of the published weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from configs.errors import ModelError
from model.backbone import Backbone

# (axis 0, axis 1, axis 2) of the sub-grid in each slot. Two offsets occur twice and two never: the
# published weights were trained so, and any other order gives wrong features without an error.
MERGE_OFFSETS = (
    (0, 0, 0),
    (1, 0, 0),
    (0, 1, 0),
    (0, 0, 1),
    (1, 0, 1),
    (0, 1, 0),
    (0, 0, 1),
    (1, 1, 1),
)


class PublishedOrderMerging(nn.Module):
    """Join 2x2x2 neighbours into one token of twice the width.

    Source:
        Slot order: MONAI 0.9.0, with which the CLIP-driven universal model was trained. MONAI
        changed it later under the same parameter names and shapes.
    """

    def __init__(
        self, dim: int, norm_layer: type[nn.LayerNorm] = nn.LayerNorm, spatial_dims: int = 3
    ) -> None:
        super().__init__()
        if spatial_dims != 3:
            raise ModelError(f"patch merging is three-dimensional here, got {spatial_dims} axes")
        self.reduction = nn.Linear(8 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(8 * dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, I/2, J/2, K/2, 2C) from (B, I, J, K, C); every axis must be even."""
        slots = [tokens[:, i::2, j::2, k::2, :] for i, j, k in MERGE_OFFSETS]
        return self.reduction(self.norm(torch.cat(slots, dim=-1)))


class SwinUnetrBackbone(Backbone):
    """Swin UNETR without its output layer.

    With the default options it has the 62,186,610 parameters of the published backbone.

    Source:
        Hatamizadeh et al. 2022 (Swin UNETR); options as the CLIP-driven universal model, ICCV 2023.
    """

    def __init__(
        self,
        *,
        feature_size: int = 48,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        use_checkpoint: bool = False,
    ) -> None:
        """Build the network.

        Args:
            feature_size: Channels of the first level; a multiple of 12.
            depths: Transformer blocks of the four stages.
            num_heads: Attention heads of the four stages.
            use_checkpoint: Recompute the transformer's activations to save memory in training.

        Raises:
            ModelError: The options do not fit one another.
        """
        super().__init__()
        # Importing MONAI takes seconds and brings nibabel; who wants another backbone is spared.
        from monai.networks.nets.swin_unetr import SwinUNETR

        try:
            network = SwinUNETR(
                in_channels=1,
                out_channels=1,
                feature_size=feature_size,
                depths=tuple(depths),
                num_heads=tuple(num_heads),
                use_checkpoint=use_checkpoint,
                downsample=PublishedOrderMerging,  # type: ignore[arg-type]  # takes a class
            )
        except (ValueError, IndexError) as error:
            raise ModelError(f"these Swin UNETR options do not fit together: {error}") from error
        del network.out
        self.network = network
        self.out_channels = feature_size
        self.bottleneck_channels = 16 * feature_size
        self.stride = 32

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return five skips, finest first (1, 1/2, 1/4, 1/8, 1/16), and the bottleneck at 1/32."""
        network = self.network
        hidden = network.swinViT(images, network.normalize)
        skips = [
            network.encoder1(images),
            network.encoder2(hidden[0]),
            network.encoder3(hidden[1]),
            network.encoder4(hidden[2]),
            hidden[3],
        ]
        return skips, network.encoder10(hidden[4])

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Return decoder features with ``feature_size`` channels."""
        network = self.network
        features = network.decoder5(bottleneck, skips[4])
        features = network.decoder4(features, skips[3])
        features = network.decoder3(features, skips[2])
        features = network.decoder2(features, skips[1])
        return network.decoder1(features, skips[0])
