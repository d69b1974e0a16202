"""Several processes that train one network, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import distributed

from configs.errors import ConfigError

Backend = Literal["auto", "gloo", "nccl"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: From 0; only 0 writes.
        size: Number of processes.
        device: Where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process writes files and the journal."""
        return self.rank == 0

    def told(self, value: T) -> T:
        """Return the value of process 0, which every process gets; JSON values only."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def largest(self, number: int) -> int:
        """Return the largest of the numbers that the processes hold."""
        if self.size == 1:
            return number
        shared = torch.tensor(number, device=self.device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return int(shared)


@contextmanager
def joined_ranks(device: torch.device, backend: Backend = "auto") -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started; alone, there is nothing to join.

    Args:
        device: The setting's. On ``cuda`` without a number each process takes the GPU of its local
            rank.
        backend: How gradients travel; ``auto`` is nccl on CUDA and gloo else.

    Raises:
        ConfigError: The backend does not fit the device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    chosen = ("nccl" if device.type == "cuda" else "gloo") if backend == "auto" else backend
    if chosen == "nccl" and device.type != "cuda":
        raise ConfigError(f"train.backend nccl needs CUDA, the device is {device}; take gloo")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(chosen)
    try:
        yield Ranks(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
