"""The part of a network that turns features and structure encodings into logits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn

from model.feature_bundle import FeatureBundle


class Head(nn.Module, ABC):
    """Logits of every queried structure in every voxel.

    Attributes:
        kind: Key under which a checkpoint stores it.
    """

    kind: str

    @abstractmethod
    def voxel_features(self, dec: Tensor) -> Tensor:
        """Return what ``classify`` reads in each voxel, (B, C, I, J, K) from (B, Cf, I, J, K)."""

    @abstractmethod
    def classify(self, voxels: Tensor, bottleneck: Tensor, encodings: Tensor) -> Tensor:
        """Return logits (B, Q, I, J, K), voxel by voxel; any subset of voxels gives the same.

        Args:
            voxels: From ``voxel_features``, or some voxels of it, shape (B, C, I, J, K).
            bottleneck: Coarsest features, shape (B, Cz, i, j, k).
            encodings: One vector a structure, shape (Q, E).
        """

    @abstractmethod
    def set_prior_in_place(self, logit: float) -> None:
        """Make a new head start at about this logit in every voxel of every structure."""

    def forward(self, features: FeatureBundle, encodings: Tensor) -> Tensor:
        """Return logits (B, Q, I, J, K) of the structures with encodings (Q, E)."""
        return self.classify(self.voxel_features(features.dec), features.bottleneck, encodings)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group norm of 16 groups, or of the most that divide both 16 and the channels."""
    return nn.GroupNorm(math.gcd(16, channels), channels)
