"""How networks run over a volume."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from configs.errors import UsageError

Blending = Literal["gaussian", "uniform"]
Precision = Literal["float32", "bfloat16", "float16"]

_REDUCED: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """How to run; nothing here changes what a member has learned.

    Attributes:
        batch_size: Windows per call of a network.
        precision: In what networks multiply, under autocast; blending stays float32.
        blending: How windows count where they overlap: less towards their edges, or all alike.
        body_only: Leave out windows without body.
        host_sums: Keep the sums of the sliding window in the host's memory, not on the device.
    """

    batch_size: int = 1
    precision: Precision = "float32"
    blending: Blending = "gaussian"
    body_only: bool = True
    host_sums: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {self.batch_size}")

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context in which a network runs."""
        return autocast(device, self.precision)

    def in_words(self) -> str:
        """Return what a fallback may have changed."""
        where = "host" if self.host_sums else "device"
        return f"{self.batch_size} windows at once, {self.precision}, sums on the {where}"

    def with_less_memory(self, device: torch.device) -> NetworkOptions | None:
        """Return the next way that takes less memory: fewer windows at once, then sums on the host.

        None when there is no other.
        """
        if self.batch_size > 1:
            return replace(self, batch_size=self.batch_size // 2)
        if device.type != "cpu" and not self.host_sums:
            return replace(self, host_sums=True)
        return None


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network multiplies in a precision."""
    dtype = _REDUCED.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


DEFAULT = NetworkOptions()
