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
    if sys.stderr.isatty():
        with _bar(label) as advance:
            yield advance
    else:
        yield _lines(label)


@contextmanager
def _bar(label: str) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield advance


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
