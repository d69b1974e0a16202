"""Where errors become exit codes and words; no traceback reaches a user without ``--debug``."""

from __future__ import annotations

import functools
import tempfile
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from configs.errors import AtlasLoopError, ExitCode, exit_code
from flows.tables import fail

P = ParamSpec("P")
R = TypeVar("R")

INTERRUPTED = 130

_SHOW_TRACEBACKS: ContextVar[bool] = ContextVar("show_tracebacks", default=False)


def show_tracebacks(*, wanted: bool) -> None:
    """Choose whether errors of this command line come with a traceback."""
    _SHOW_TRACEBACKS.set(wanted)


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command so that it ends with one of the exit codes and a message that helps."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            fail("interrupted; what was finished is kept, run the same command to go on")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise typer.Exit(ExitCode.OK) from None
        except AtlasLoopError as error:
            _raise_in_debug(error)
            fail(str(error))
            raise typer.Exit(exit_code(error)) from None
        except Exception as error:  # noqa: BLE001 the last place that can tell a user
            _raise_in_debug(error)
            fail(f"a fault of AtlasLoop ({type(error).__name__}); its log is {write_fault_log()}")
            raise typer.Exit(ExitCode.FAULT) from None

    return run


def _raise_in_debug(error: Exception) -> None:
    if _SHOW_TRACEBACKS.get():
        raise error


def write_fault_log() -> Path:
    """Write the traceback of the exception at hand into a private file and return its path."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    path = Path(tempfile.mkdtemp(prefix="atlasloop-")) / f"fault-{stamp}.log"
    path.write_text(traceback.format_exc(), encoding="utf-8")
    return path
