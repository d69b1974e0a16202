"""Training batches in an order that nothing but seed, step and rank decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch

from model.training_patches import PatchSampler, TrainingBatch


def batch_at(
    sampler: PatchSampler, *, step: int, batch_size: int, seed: int, rank: int = 0
) -> TrainingBatch:
    """Return the batch of a step; a pure function of seed, step and rank.

    Args:
        sampler: Draws the patches.
        step: Counted from 1.
        batch_size: Number of patches.
        seed: Of the training.
        rank: Of the process among those that train together.
    """
    text = f"{seed}/{step}/{rank}".encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
    return sampler.draw(batch_size, torch.Generator().manual_seed(number))


def stream(  # noqa: PLR0913 the order, how many, and how they are made ahead
    sampler: PatchSampler,
    *,
    first_step: int,
    last_step: int,
    batch_size: int,
    seed: int,
    rank: int = 0,
    workers: int = 0,
    prefetch: int = 2,
) -> Iterator[TrainingBatch]:
    """Yield the batches of the steps from the first to the last, both included.

    Args:
        sampler: Draws the patches.
        first_step: Counted from 1.
        last_step: Included.
        batch_size: Number of patches.
        seed: Of the training.
        rank: Of the process among those that train together.
        workers: Processes that draw ahead; only 0 yet.
        prefetch: Batches that each of them draws ahead.
    """
    del workers, prefetch
    for step in range(first_step, last_step + 1):
        yield batch_at(sampler, step=step, batch_size=batch_size, seed=seed, rank=rank)
