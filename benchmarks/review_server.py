"""The review app as the command line starts it, for benchmarks and tests that open its pages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class ReviewServer:
    """One reader's app on a workspace, always at the same address; ``with`` stops it.

    Args:
        root: The workspace.
        reader: Whose app it is.
        settings: More variables of its environment, such as ``ATLASLOOP_REVIEW__LEASE_MINUTES``.
    """

    def __init__(
        self, root: Path, *, reader: str = "anna", settings: Mapping[str, str] | None = None
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.root, self.reader, self.settings = root, reader, dict(settings or {})
        self.start()

    def __enter__(self) -> ReviewServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the app and wait until it says that it is there.

        Raises:
            RuntimeError: It ended instead.
        """
        command = [sys.executable, "-m", "flows.cli", "review", "--no-browser"]
        command += ["--reader", self.reader, "--port", str(self.port), "-w", str(self.root)]
        self.child = subprocess.Popen(
            command,
            env={**os.environ, **self.settings},
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in self.child.stdout or ():
            if f"review app for {self.reader}" in line:
                return
        raise RuntimeError("the app did not start; its words are on the standard error output")

    @property
    def serving_pid(self) -> int:
        """The process that serves the pages, a child of the command (Linux)."""
        listed = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text()
        (serving,) = listed.split()
        return int(serving)

    def kill(self) -> None:
        """End the serving process as a crash would (Linux)."""
        os.kill(self.serving_pid, signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        """End the app as Ctrl-C would; nothing happens when it has ended."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            self._ended()

    def _ended(self) -> None:
        self.child.wait(30)
        if self.child.stdout is not None:
            self.child.stdout.close()
