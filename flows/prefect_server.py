"""The Prefect server that runs report to: a given one, or a local one that ends with us.

Imports no Prefect: the environment must be right before anything does.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import SchedulerError
from storage.process_lock import is_held, process_lock
from storage.workspace import Workspace

HOST = "127.0.0.1"
_STARTUP_S = 180.0
_SHUTDOWN_S = 15.0
# What an AtlasLoop run wants of Prefect unless the user says otherwise: no telemetry, patience, and
# leases that outlive a killed server, without which the slots of a limit would stay taken for good.
_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
        "prefect.server.concurrency.lease_storage.filesystem"
    ),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}


def prepare_environment(workspace: Workspace) -> None:
    """Set what Prefect reads at import, where the user has not.

    Without PREFECT_API_URL, Prefect keeps its state under the workspace, not in the user's home.

    Raises:
        SchedulerError: PREFECT_API_URL names a server that does not answer.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if url := os.environ.get("PREFECT_API_URL"):
        check_api(url)
    else:
        os.environ.setdefault("PREFECT_HOME", str(_home(workspace)))


def join_server(workspace: Workspace) -> None:
    """Prepare the environment for one run: it reports to the given server, or to this workspace's.

    That is the one of an ``atlasloop serve`` where it is up, else one that ends with the run.

    Raises:
        SchedulerError: PREFECT_API_URL names a server that does not answer.
    """
    prepare_environment(workspace)
    if os.environ.get("PREFECT_API_URL"):
        return
    if is_held(serve_lock_path(workspace)):
        os.environ["PREFECT_API_URL"] = serve_lock_path(workspace).read_text(encoding="utf-8")
    else:
        # A temporary server says hundreds of lines at INFO.
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")


def serve_lock_path(workspace: Workspace) -> Path:
    """The file that an ``atlasloop serve`` with a local server holds; it says the server's URL."""
    return _home(workspace) / "serve.lock"


def check_api(url: str) -> None:
    """Raise SchedulerError unless a Prefect server answers at ``url``."""
    if not _answers(url):
        raise SchedulerError(
            f"PREFECT_API_URL names a Prefect server, but none answers at {url}; start it, or "
            "unset PREFECT_API_URL to run without one"
        )


@contextmanager
def local_server(workspace: Workspace, port: int) -> Iterator[str | None]:
    """Run a server on this machine alone while the block runs; it ends with us, even by kill -9.

    Args:
        workspace: Its state goes under ``runs/prefect`` of it.
        port: Where it listens; another free one when somebody else has it.

    Yields:
        The URL of its API, or None when an ``atlasloop serve`` of this workspace has one already.

    Raises:
        SchedulerError: It does not start.
    """
    url = f"http://{HOST}:{_free_port(port)}/api"
    with process_lock(serve_lock_path(workspace), url) as alone:
        if not alone:
            yield None
            return
        os.environ["PREFECT_API_URL"] = url
        with _child(_home(workspace) / "server.log", url) as child:
            _wait_until_up(child, url)
            yield url


def main() -> None:
    """Run a Prefect server until it is told to end, or until whoever holds our stdin is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = ["prefect", "server", "start", "--host", HOST, "--port", sys.argv[1]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SHUTDOWN_S)
    os._exit(1)


@contextmanager
def _child(log_path: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    port = url.rpartition(":")[2].partition("/")[0]
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        # A session of its own, so that Ctrl-C reaches us first and the server last.
        child = subprocess.Popen(  # noqa: S603 our own module
            [sys.executable, "-m", "flows.prefect_server", port],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        _end_group(child)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    for strength in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, strength)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=_SHUTDOWN_S)
            break


def _wait_until_up(child: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _STARTUP_S
    while time.monotonic() < deadline:
        if _answers(url):
            return
        if child.poll() is not None:
            raise SchedulerError(
                f"the local Prefect server ended with code {child.returncode}; its log is "
                "runs/prefect/server.log in the workspace"
            )
        time.sleep(0.5)
    raise SchedulerError(
        f"the local Prefect server did not answer within {_STARTUP_S:.0f} s; its log is "
        "runs/prefect/server.log in the workspace"
    )


def _answers(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5) as reply:  # noqa: S310 http alone, by the line above
            return reply.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return probe.getsockname()[1]
    raise SchedulerError(f"no free port on {HOST}, not even another than {wanted}")


def _home(workspace: Workspace) -> Path:
    return workspace.runs_path / "prefect"


if __name__ == "__main__":
    main()
