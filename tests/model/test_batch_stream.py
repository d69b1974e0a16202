from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from configs.errors import ConfigError
from model.augmentation import AugmentationSettings
from model.batch_stream import batch_at, step_seed, stream
from model.training_patches import PatchSampler, TrainingBatch
from model.training_samples import PreparedSample


@pytest.fixture
def sampler() -> PatchSampler:
    generator = torch.Generator().manual_seed(4)
    samples = []
    for number in range(3):
        masks = torch.rand(10, 11, 12, generator=generator) > 0.8
        samples.append(
            PreparedSample(
                image=torch.rand(10, 11, 12, generator=generator).half(),
                labels=masks.to(torch.uint8)[None],
                annotated=torch.tensor([number % 2]),
                centres={number % 2: masks.nonzero()},
            )
        )
    return PatchSampler(
        samples=samples,
        patch=(6, 7, 8),
        background_share=0.5,
        weights=torch.ones(2),
        augmentation=AugmentationSettings(affine_share=0.5, quarter_turn_share=0.5),
    )


class Counting:
    """A sampler that fails at chosen calls and says how many draws were begun and ended."""

    def __init__(self, sampler: PatchSampler, *, fail_at: int | None = None) -> None:
        self.sampler, self.fail_at = sampler, fail_at
        self.begun = self.ended = 0
        self._lock = threading.Lock()

    def draw(self, batch_size: int, generator: torch.Generator) -> TrainingBatch:
        with self._lock:
            self.begun += 1
            number = self.begun
        if number == self.fail_at:
            raise RuntimeError("the disk is gone")
        batch = self.sampler.draw(batch_size, generator)
        time.sleep(0.005)
        self.ended += 1
        return batch


def equal(first: TrainingBatch, second: TrainingBatch) -> bool:
    pairs = zip(first.targets, second.targets, strict=True)
    return torch.equal(first.images, second.images) and all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in pairs
        for name in ("structure_index", "voxels", "weight", "target")
    )


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers_yields_the_batches_of_batch_at(
    sampler: PatchSampler, workers: int
) -> None:
    drawn = list(
        stream(sampler, first_step=5, last_step=16, batch_size=2, seed=3, rank=1, workers=workers)
    )

    expected = [batch_at(sampler, step=n, batch_size=2, seed=3, rank=1) for n in range(5, 17)]
    assert len(drawn) == 12
    assert all(equal(*pair) for pair in zip(drawn, expected, strict=True))
    assert not ours()


def test_seeds_steps_and_ranks_draw_other_batches(sampler: PatchSampler) -> None:
    keys = [(0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1), (1, 0, 0)]

    seeds = {step_seed(seed=seed, step=step, rank=rank) for seed, step, rank in keys}
    batches = [
        batch_at(sampler, step=step, batch_size=1, seed=seed, rank=rank)
        for seed, step, rank in keys
    ]

    assert len(seeds) == len(keys)
    assert not any(equal(batches[0], other) for other in batches[1:])


def test_no_more_batches_than_the_bound_are_drawn_ahead(sampler: PatchSampler) -> None:
    counting = Counting(sampler)
    batches: Iterator[TrainingBatch] = stream(
        counting,  # type: ignore[arg-type]
        first_step=1,
        last_step=100,
        batch_size=1,
        seed=0,
        workers=2,
        prefetch=2,
    )

    next(batches)
    time.sleep(0.2)

    assert counting.begun <= 4
    batches.close()  # type: ignore[attr-defined]


def test_leaving_early_ends_the_workers(sampler: PatchSampler) -> None:
    counting = Counting(sampler)

    for _ in stream(
        counting,  # type: ignore[arg-type]
        first_step=1,
        last_step=1000,
        batch_size=1,
        seed=0,
        workers=2,
    ):
        break

    assert not ours()
    assert counting.begun == counting.ended < 10


def test_ctrl_c_in_the_training_loop_ends_the_workers(sampler: PatchSampler) -> None:
    batches = stream(sampler, first_step=1, last_step=1000, batch_size=1, seed=0, workers=2)
    next(batches)
    assert ours()

    with pytest.raises(KeyboardInterrupt):
        batches.throw(KeyboardInterrupt)  # type: ignore[attr-defined]

    assert not ours()


def test_an_error_of_a_worker_is_raised_at_its_step(sampler: PatchSampler) -> None:
    counting = Counting(sampler, fail_at=3)
    batches = stream(
        counting,  # type: ignore[arg-type]
        first_step=1,
        last_step=1000,
        batch_size=1,
        seed=0,
        workers=1,
    )

    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(batches)
    assert not ours()


def test_workers_leave_the_training_threads_alone(sampler: PatchSampler) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(stream(sampler, first_step=1, last_step=3, batch_size=1, seed=0, workers=1))
        during = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)

    assert during == 2


@pytest.mark.parametrize("wrong", [{"workers": -1}, {"prefetch": 0}, {"batch_size": 0}])
def test_numbers_out_of_range_are_refused(sampler: PatchSampler, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        stream(sampler, **{"first_step": 1, "last_step": 2, "batch_size": 1, "seed": 0, **wrong})
