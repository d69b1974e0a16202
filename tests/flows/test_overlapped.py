from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from flows.overlapped import Stages, overlapped

PATIENCE_S = 30


def stages(items: list[int], **changes: Callable) -> Stages:
    left = list(items)
    plain = Stages(
        take=lambda: left.pop(0) if left else None,
        read=lambda item: item * 10,
        compute=lambda read: read + 1,
        finish=lambda computed: -computed,
        alone=lambda read: False,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize("overlap", [True, False])
def test_every_item_passes_all_stages_in_order(overlap: bool) -> None:
    done = list(overlapped(replace(stages([1, 2, 3]), overlap=overlap)))

    assert [(one.item, one.result()) for one in done] == [(1, -11), (2, -21), (3, -31)]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("stage", ["read", "compute", "finish"])
def test_an_item_that_fails_lets_the_others_pass(stage: str, overlap: bool) -> None:
    def fail_on_the_second(value: int) -> int:
        if abs(value) in (2, 20, 21):
            raise ValueError(f"{stage} failed")
        return value

    work = replace(stages([1, 2, 3], **{stage: fail_on_the_second}), overlap=overlap)
    done = list(overlapped(work))

    assert [one.item for one in done] == [1, 2, 3]
    with pytest.raises(ValueError, match=f"{stage} failed"):
        done[1].result()
    assert done[0].result() is not None
    assert done[2].result() is not None


def test_reading_and_finishing_go_on_while_another_item_is_computed() -> None:
    read, finished = threading.Event(), threading.Event()

    def note_read(item: int) -> int:
        if item == 3:
            read.set()
        return item

    def compute(item: int) -> int:
        if item == 2:
            assert read.wait(PATIENCE_S), "the third item is read meanwhile"
            assert finished.wait(PATIENCE_S), "the first item is finished meanwhile"
        return item

    def finish(item: int) -> int:
        if item == 1:
            finished.set()
        return item

    work = stages([1, 2, 3], read=note_read, compute=compute, finish=finish)

    assert [one.result() for one in overlapped(work)] == [1, 2, 3]


def test_no_more_than_one_item_is_read_ahead() -> None:
    at_work: list[int] = []
    most = 0

    def read(item: int) -> int:
        nonlocal most
        at_work.append(item)
        most = max(most, len(at_work))
        return item

    def finish(item: int) -> int:
        at_work.remove(item)
        return item

    list(overlapped(stages(list(range(20)), read=read, compute=lambda item: item, finish=finish)))

    assert most <= 3


def test_an_item_that_needs_the_memory_waits_for_the_one_before() -> None:
    finished: list[int] = []
    begun = [threading.Event() for _ in range(6)]

    def compute(item: int) -> int:
        begun[item].set()
        assert finished == list(range(1, item)), "those before it are finished"
        return item

    def finish(item: int) -> int:
        begun[item + 1].wait(0.1)
        finished.append(item)
        return item

    work = stages(
        [1, 2, 3, 4], read=lambda item: item, compute=compute, finish=finish, alone=lambda _: True
    )

    assert [one.result() for one in overlapped(work)] == [1, 2, 3, 4]


def test_when_the_caller_stops_the_item_at_the_end_is_finished_and_no_more_are_taken() -> None:
    finished: list[int] = []
    work = stages(
        list(range(100)), compute=lambda read: read, finish=lambda item: finished.append(item)
    )

    for done in overlapped(work):
        if done.item == 2:
            break

    assert 3 <= len(finished) <= 5
