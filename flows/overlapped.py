"""Three stages of work on item after item, each while the others are at the items beside it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, NoReturn, TypeVar

I = TypeVar("I")  # noqa: E741 an item
A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[I, R]):
    """What became of an item: a result, or the error that a stage ended with."""

    item: I
    _get: Callable[[], R]

    def result(self) -> R:
        """Return the result, or raise the error."""
        return self._get()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages(Generic[I, A, B, R]):
    """The work on an item.

    Attributes:
        take: Returns the next item, None when there is none; in the first stage's thread.
        read: First stage, in a thread of its own, one item ahead of the second.
        compute: Second stage, in the caller's thread.
        finish: Third stage, in a thread of its own, while the second is at the next item.
        alone: Whether the third stage must end before the second goes on with what was read.
        overlap: Whether stages overlap at all; else one item is taken after the other has ended.
    """

    take: Callable[[], I | None]
    read: Callable[[I], A]
    compute: Callable[[A], B]
    finish: Callable[[B], R]
    alone: Callable[[A], bool]
    overlap: bool = True


def overlapped(stages: Stages[I, A, B, R]) -> Generator[Done[I, R]]:
    """Yield what became of the items, in the order in which they were taken.

    At most three items are at work: one that is read or waits for the second stage, one in the
    second, one in the third. When the caller stops, by Ctrl-C above all, the item in the third
    stage is finished and the others are dropped.
    """
    if not stages.overlap:
        yield from _one_by_one(stages)
        return
    with _thread("read") as reader, _thread("finish") as finisher:
        coming = reader.submit(_begin, stages)
        ending: Future[Done[I, R]] | None = None
        while (begun := coming.result()) is not None:
            coming = reader.submit(_begin, stages)
            computed = _computed(stages, begun, ending)
            if ending is not None:
                yield ending.result()
            ending = finisher.submit(_finished, stages, computed)
            # What the first two stages made is not held while the next item is waited for.
            del begun, computed
        if ending is not None:
            yield ending.result()


def _one_by_one(stages: Stages[I, A, B, R]) -> Iterator[Done[I, R]]:
    while (begun := _begin(stages)) is not None:
        yield _finished(stages, _computed(stages, begun, None))


def _begin(stages: Stages[I, A, B, R]) -> Done[I, A] | None:
    item = stages.take()
    return None if item is None else _done(item, lambda: stages.read(item))


def _computed(
    stages: Stages[I, A, B, R], begun: Done[I, A], ending: Future[Done[I, R]] | None
) -> Done[I, B]:
    def compute() -> B:
        read = begun.result()
        if ending is not None and stages.alone(read):
            ending.exception()
        return stages.compute(read)

    return _done(begun.item, compute)


def _finished(stages: Stages[I, A, B, R], computed: Done[I, B]) -> Done[I, R]:
    return _done(computed.item, lambda: stages.finish(computed.result()))


def _done(item: I, work: Callable[[], R]) -> Done[I, R]:
    """Do some work now, and keep what came of it."""
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 the caller decides what it means
        return Done(item, partial(_raise, error))
    return Done(item, lambda: result)


def _raise(error: Exception) -> NoReturn:
    raise error


@contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
