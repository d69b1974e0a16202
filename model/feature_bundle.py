"""What a backbone hands to a head."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class FeatureBundle:
    """Features of one batch of patches.

    Attributes:
        dec: Full-resolution decoder features, shape (B, Cf, I, J, K).
        bottleneck: Coarsest features, shape (B, Cz, i, j, k).
    """

    dec: Tensor
    bottleneck: Tensor
