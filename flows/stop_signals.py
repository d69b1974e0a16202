"""Ctrl-C and SIGTERM as a question that long work asks between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from configs.errors import StoppedError

StopAsked = Callable[[], int | None]
"""Returns the number of the signal that asked to stop, else None."""


@contextmanager
def stop_signals() -> Iterator[StopAsked]:
    """Catch the first SIGINT or SIGTERM of the block; the second ends the process as ever.

    Outside of the main thread, where Python takes no signals, nothing is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, _: FrameType | None) -> None:
        asked.append(number)
        _restore(before)

    for number in numbers:
        signal.signal(number, note)
    try:
        yield lambda: asked[0] if asked else None
    finally:
        _restore(before)


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise StoppedError in the block, as Ctrl-C raises KeyboardInterrupt.

    Outside of the main thread, where Python takes no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise StoppedError(
            "stopped by SIGTERM; what was finished is kept, run the same command to go on", number
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _restore(handlers: Mapping[signal.Signals, object]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)  # type: ignore[arg-type]  # what getsignal gave
