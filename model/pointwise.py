"""A 1x1x1 convolution as one matrix product."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pointwise(convolution: nn.Conv3d, features: Tensor) -> Tensor:
    """Return what a 1x1x1 convolution gives, (B, C', I, J, K) from (B, C, I, J, K).

    On a CPU the convolution would first bring the whole map into another memory layout, which
    takes longer than its arithmetic.
    """
    batch = features.shape[0]
    weight = convolution.weight.flatten(1).expand(batch, -1, -1)
    flat = features.flatten(2)
    if convolution.bias is None:
        return torch.bmm(weight, flat).unflatten(2, features.shape[2:])
    return torch.baddbmm(convolution.bias[:, None], weight, flat).unflatten(2, features.shape[2:])
