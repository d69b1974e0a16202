"""Progress of long work: a bar on a terminal, plain lines in a log, nothing when told so."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int, int], None]
"""Called with (done, total)."""

_SECONDS_BETWEEN_LINES = 10.0


def silent(done: int, total: int) -> None:
    """Report nothing; the default of every plain function."""


@contextmanager
def shown(label: str) -> Iterator[Advance]:
    """Yield an ``Advance`` that shows on stderr, so that stdout stays for results."""
    with stages() as stage:
        yield stage(label)


@contextmanager
def stages() -> Iterator[Callable[[str], Advance]]:
    """Yield what makes an ``Advance`` of a label, for work that has several parts."""
    if sys.stderr.isatty():
        with _bars() as stage:
            yield stage
    else:
        yield _lines


@contextmanager
def _bars() -> Iterator[Callable[[str], Advance]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def stage(label: str) -> Advance:
            task = progress.add_task(label, total=None)

            def advance(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            return advance

        yield stage


def _lines(label: str) -> Advance:
    started = time.monotonic()
    last = -_SECONDS_BETWEEN_LINES

    def advance(done: int, total: int) -> None:
        nonlocal last
        elapsed = time.monotonic() - started
        if done < total and elapsed - last < _SECONDS_BETWEEN_LINES:
            return
        last = elapsed
        print(f"{label}: {done}/{total} after {elapsed:.0f} s", file=sys.stderr, flush=True)  # noqa: T201 a log's progress line

    return advance


def duration(seconds: float) -> str:
    """Return a time in words that fit its size."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
