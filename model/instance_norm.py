"""Instance norm with weights."""

from __future__ import annotations

from torch import nn


def instance_norm(channels: int) -> nn.GroupNorm:
    """Return instance norm as a group norm of one channel a group.

    The numbers are those of ``InstanceNorm3d(affine=True)``; PyTorch's own is two to four times
    slower in bfloat16 on a CPU.
    """
    return nn.GroupNorm(channels, channels)
