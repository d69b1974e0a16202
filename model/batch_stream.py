"""Batches by step: each is a pure function of (seed, step, rank), drawn in line or ahead."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from configs.errors import ConfigError
from model.training_patches import PatchSampler, TrainingBatch


def batch_at(
    sampler: PatchSampler, *, step: int, batch_size: int, seed: int, rank: int = 0
) -> TrainingBatch:
    """Return the batch of one step; no state is kept, so a run can go on at any step.

    Args:
        sampler: Where patches come from; equal samplers give equal batches.
        step: Any number that names the step.
        batch_size: Patches.
        seed: Of the run.
        rank: Of the process among those that train together; each draws other patches.
    """
    generator = torch.Generator().manual_seed(step_seed(seed=seed, step=step, rank=rank))
    return sampler.draw(batch_size, generator)


def step_seed(*, seed: int, step: int, rank: int) -> int:
    """Return the seed of a step's generator: a hash, so that neighbours share nothing."""
    digest = hashlib.sha256(f"batch/{seed}/{step}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream(  # noqa: PLR0913 the first four name a batch, the others how it is drawn
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
    """Yield the batches of ``first_step`` to ``last_step``, both included, in order.

    The batches are those of ``batch_at``, bit by bit, however many workers draw them. Workers are
    threads: they share the samples, and nearly all of a draw is tensor work outside Python's lock.
    Each uses one core. An error of a worker is raised at its step; closing the iterator, an error
    or Ctrl-C waits for the batches that are being drawn and drops the rest.

    Args:
        sampler: See ``batch_at``.
        first_step: Where to begin.
        last_step: Where to end; nothing is yielded where it lies before ``first_step``.
        batch_size: See ``batch_at``.
        seed: See ``batch_at``.
        rank: See ``batch_at``.
        workers: Threads that draw ahead; 0 draws in line.
        prefetch: Batches that are ready or being drawn for each worker, at least 1.

    Raises:
        ConfigError: A number is out of range.
    """
    if workers < 0 or prefetch < 1 or batch_size < 1:
        raise ConfigError(
            "workers must be at least 0, prefetch and batch_size at least 1, got "
            f"{workers}, {prefetch} and {batch_size}"
        )
    draw = _Draw(sampler, batch_size, seed, rank)
    steps = iter(range(first_step, last_step + 1))
    if workers == 0:
        return (draw(step) for step in steps)
    return _ahead(draw, steps, workers=workers, waiting=workers * prefetch)


class _Draw:
    def __init__(self, sampler: PatchSampler, batch_size: int, seed: int, rank: int) -> None:
        self._sampler, self._batch_size = sampler, batch_size
        self._seed, self._rank = seed, rank

    def __call__(self, step: int) -> TrainingBatch:
        return batch_at(
            self._sampler,
            step=step,
            batch_size=self._batch_size,
            seed=self._seed,
            rank=self._rank,
        )


def _ahead(
    draw: _Draw, steps: Iterator[int], *, workers: int, waiting: int
) -> Iterator[TrainingBatch]:
    # Setting the number of threads in a worker leaves that of the training thread as it is.
    pool = ThreadPoolExecutor(
        workers, thread_name_prefix="batches", initializer=torch.set_num_threads, initargs=(1,)
    )
    pending: deque[Future[TrainingBatch]] = deque()
    try:
        for step in steps:
            pending.append(pool.submit(draw, step))
            if len(pending) >= waiting:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
