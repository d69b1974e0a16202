"""Processes side by side that end with whoever started them: by Ctrl-C, by an error, by kill -9."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar

J = TypeVar("J")
R = TypeVar("R")

_ENDED_WITH_PARENT = 130


def side_by_side(function: Callable[[J], R], jobs: Sequence[J], *, workers: int) -> list[R]:
    """Return the function's results in the jobs' order, computed in processes of their own.

    Args:
        function: Defined at the top of a module; called once a job.
        jobs: Values that can be pickled.
        workers: Processes at once, at least 1.

    Raises:
        Exception: What the first job to fail raised; the others are ended, not waited for.
    """
    with started(function, jobs, workers=workers) as futures:
        for future in as_completed(futures):
            future.result()
        return [future.result() for future in futures]


@contextmanager
def started(
    function: Callable[[J], R], jobs: Sequence[J], *, workers: int
) -> Iterator[list[Future[R]]]:
    """Start the jobs and yield their futures, in the jobs' order.

    When the block ends by an exception, Ctrl-C above all, the processes are ended at once and say
    nothing: Ctrl-C reaches the caller alone, which then closes the pipe that they watch. It closes
    as well when the caller is killed, so none goes on for nobody.

    Args:
        function: Defined at the top of a module; called once a job.
        jobs: Values that can be pickled.
        workers: Processes at once, at least 1.
    """
    # Forking a process that runs threads (torch, BLAS) can hang it, so children start afresh.
    spawn = multiprocessing.get_context("spawn")
    watched, held = spawn.Pipe(duplex=False)
    with (
        watched,
        held,
        ProcessPoolExecutor(
            workers, mp_context=spawn, initializer=_end_with, initargs=(watched,)
        ) as pool,
    ):
        try:
            with _ctrl_c_kept_from_children():
                futures = [pool.submit(function, job) for job in jobs]
            yield futures
        except BaseException:
            held.close()
            raise


class Workers:
    """Long-lived processes, each watched: who starts them sees which one died, and of what.

    A context manager; they end with it, with whoever started them, and say nothing on Ctrl-C.
    """

    def __init__(self) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        self._watched, self._held = self._spawn.Pipe(duplex=False)
        self._started: dict[SpawnProcess, Connection] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        for process in self._started:
            process.join()
        self._watched.close()

    def start(self, function: Callable[[J], None], job: J) -> SpawnProcess:
        """Start one more process.

        Args:
            function: Defined at the top of a module.
            job: A value that can be pickled.
        """
        received, sent = self._spawn.Pipe(duplex=False)
        process = self._spawn.Process(
            target=_report, args=(self._watched, sent, function, job), daemon=True
        )
        with _ctrl_c_kept_from_children():
            process.start()
        sent.close()
        self._started[process] = received
        return process

    def ended(self, timeout_s: float) -> list[SpawnProcess]:
        """Wait until a process ends, or for so long, and return those that ended since last time.

        Raises:
            Exception: What the function of a process raised.
        """
        living = {process.sentinel: process for process in self._started}
        ended = [living[one] for one in wait(list(living), timeout_s) if isinstance(one, int)]
        for process in ended:
            process.join()
            with self._started.pop(process) as received:
                if received.poll():
                    with suppress(EOFError):
                        raise received.recv()
        return ended

    def __bool__(self) -> bool:
        """Whether any process is at work."""
        return bool(self._started)


def _report(watched: Connection, sent: Connection, function: Callable[[J], None], job: J) -> None:
    """Run a worker's function, and send what it raises."""
    _end_with(watched)
    try:
        function(job)
    except Exception as error:  # noqa: BLE001 raised again by whoever started the worker
        sent.send(error)


def _end_with(watched: Connection) -> None:
    """End this process when the other end of the pipe is closed."""
    threading.Thread(target=_wait_for_end, args=(watched,), daemon=True).start()


def _wait_for_end(watched: Connection) -> None:
    try:
        watched.recv_bytes()
    except (EOFError, OSError):
        os._exit(_ENDED_WITH_PARENT)


@contextmanager
def _ctrl_c_kept_from_children() -> Iterator[None]:
    """Block SIGINT while children start: they inherit it for life, while ours comes late.

    Without it, Ctrl-C on a terminal hits children while they import, and each prints a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
