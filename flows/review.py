"""Run the review app as a child process on 127.0.0.1 until it is stopped."""

from __future__ import annotations

import importlib.resources
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from configs.errors import StorageError, UsageError
from storage.open_readings import open_readings
from storage.queue import ranked_at
from storage.roles import Action, check_allowed
from storage.store import Store

ADDRESS = "127.0.0.1"
_START_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 10.0


def review(store: Store, *, announce: Callable[[str], None], open_browser: bool) -> None:
    """Start the app, say where it is, and wait until Ctrl-C, SIGTERM or its own end.

    Args:
        store: The workspace; reader and port come from its settings.
        announce: Told the address once the app answers.
        open_browser: Whether the address is opened in the user's browser.

    Raises:
        AccessError: Readers are registered, and this one is not.
        UsageError: No reader is named, nothing was ranked or is to be read, or the port is taken.
        StorageError: The app ended by itself, or did not start in time.
    """
    settings = store.settings.review
    _check_reader(settings.reader)
    _check_store(store, settings.reader)
    _check_port(settings.port)
    with _stopped_by_sigterm(), _child(store) as child:
        address = f"http://{ADDRESS}:{settings.port}"
        _wait_until_it_answers(child, address)
        announce(f"review app for {settings.reader}: {address} (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(address)
        try:
            code = child.wait()
        except KeyboardInterrupt:
            return
    raise StorageError(f"the review app ended by itself with code {code}; see its messages above")


def _check_reader(reader: str) -> None:
    if not reader or ":" in reader or reader != reader.strip():
        raise UsageError(
            "a review needs a reader's name without colon or outer space, got "
            f"{reader!r}; give --reader NAME or set review.reader in atlasloop.toml"
        )


def _check_store(store: Store, reader: str) -> None:
    with store.read() as connection:
        check_allowed(connection, reader, Action.LOOK)
        if ranked_at(connection) is not None:
            return
        # Readings without the AI's mask need no committee.
        if not open_readings(connection, reader=reader).readings:
            raise UsageError(
                "there is neither a queue to review yet nor a reading assigned to "
                f"{reader}; run `atlasloop annotate` first"
            )


def _check_port(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise UsageError(
                f"port {port} of {ADDRESS} must be free: {error.strerror}; another review app may "
                "run there; choose one with --port"
            ) from error


@contextmanager
def _child(store: Store) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server while the block lasts; it gets SIGTERM, and SIGKILL when that does nothing."""
    settings = store.settings.review
    script = importlib.resources.files("review_app").joinpath("server.py")
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    child = subprocess.Popen(  # noqa: S603 our own interpreter and script
        command, env=_environment(store, settings.reader, settings.port), start_new_session=True
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _environment(store: Store, reader: str, port: int) -> dict[str, str]:
    """Return the child's environment: our settings, and Streamlit's, which no file can change."""
    return {
        **os.environ,
        "ATLASLOOP_WORKSPACE": str(store.workspace.root),
        "ATLASLOOP_REVIEW__READER": reader,
        "ATLASLOOP_REVIEW__PORT": str(port),
        "STREAMLIT_SERVER_ADDRESS": ADDRESS,
        "STREAMLIT_SERVER_PORT": str(port),
        "STREAMLIT_SERVER_HEADLESS": "true",
        "STREAMLIT_SERVER_ENABLE_CORS": "true",
        "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "true",
        "STREAMLIT_SERVER_MAX_UPLOAD_SIZE": str(store.settings.review.max_upload_mb),
        "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
        "STREAMLIT_SERVER_ENABLE_STATIC_SERVING": "false",
        "STREAMLIT_SERVER_SHOW_EMAIL_PROMPT": "false",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        "STREAMLIT_CLIENT_SHOW_ERROR_DETAILS": "none",
        "STREAMLIT_CLIENT_TOOLBAR_MODE": "minimal",
        "STREAMLIT_LOGGER_LEVEL": "warning",
    }


def _wait_until_it_answers(child: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise StorageError(
                f"the review app ended at its start with code {child.returncode}; see above"
            )
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise StorageError(f"the review app did not answer within {_START_TIMEOUT_S:g} s")


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the wait as Ctrl-C does, so that the child is ended too."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
