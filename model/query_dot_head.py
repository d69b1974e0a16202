"""A head of one dot product a structure, with weights generated from its encoding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.encoding import WIDTH
from model.head import Head, group_norm


class QueryDotHead(Head):
    """Logit = features of the voxel times weights generated from the structure's encoding.

    With one-hot encodings every structure has weights of its own, a plain sigmoid layer. It learns
    small structures within a few hundred steps, where the dynamic head, whose layers all structures
    share, needs many more.

    Source:
        He et al. 2024 (VISTA3D) and Gao et al. 2025 (Iris): class vector times decoder features.
    """

    kind = "query_dot"

    def __init__(
        self, *, out_channels: int, bottleneck_channels: int, encoding_width: int = WIDTH
    ) -> None:
        """Build the head.

        Args:
            out_channels: Channels of the decoder's output.
            bottleneck_channels: Not used; every head is built alike.
            encoding_width: Length of a structure's encoding.
        """
        super().__init__()
        self.norm = group_norm(out_channels)
        self.generator = nn.Linear(encoding_width, out_channels + 1)
        nn.init.normal_(self.generator.weight, std=0.1)
        nn.init.zeros_(self.generator.bias)

    def set_prior_in_place(self, logit: float) -> None:
        """Set the bias that all structures share."""
        with torch.no_grad():
            self.generator.bias[-1] = logit

    def voxel_features(self, dec: Tensor) -> Tensor:
        """Return normalised, rectified features, shape (B, Cf, I, J, K)."""
        return torch.relu(self.norm(dec))

    def classify(self, voxels: Tensor, bottleneck: Tensor, encodings: Tensor) -> Tensor:
        """Return logits (B, Q, I, J, K)."""
        # Encodings have norm 16 whatever their kind; at norm 1 a step of Adam moves a weight by
        # about the learning rate.
        weights = self.generator(encodings * WIDTH**-0.5)
        logits = torch.matmul(weights[:, :-1], voxels.flatten(2)) + weights[:, -1:]
        return logits.unflatten(2, voxels.shape[2:])
