"""Run the flows on their schedule, against a given Prefect server or a local one."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from configs.errors import UsageError
from flows.prefect_server import local_server, prepare_environment
from storage.store import Store

_CHILD_END_S = 10.0


def serve_schedule(store: Store, announce: Callable[[str], None]) -> None:
    """Run the workspace's flows when their time comes, until Ctrl-C or SIGTERM.

    Without PREFECT_API_URL a server is started on this machine, and ended with us. Killing either
    at any instant costs the case at hand; the next run goes on with the rest.

    Args:
        store: The workspace.
        announce: Told where the server is and what runs when.

    Raises:
        ConfigError: A cron expression cannot be read.
        SchedulerError: The server does not start, or the given one does not answer.
        UsageError: This workspace is being served already.
    """
    prepare_environment(store.workspace)
    with _server(store) as url:
        from flows.scheduled import deployments, serve_deployments

        served = deployments(store.workspace.root, store.settings.schedule)
        announce(f"Prefect server: {url.removesuffix('/api')}")
        for deployment in served:
            announce(f"{deployment.flow_name}: {_when(deployment.schedules, store)}")
        announce("serving; Ctrl-C ends it")
        with _no_child_left():
            serve_deployments(served)


@contextmanager
def _server(store: Store) -> Iterator[str]:
    given = os.environ.get("PREFECT_API_URL")
    if given:
        yield given
        return
    with local_server(store.workspace, store.settings.schedule.port) as url:
        if url is None:
            raise UsageError(
                "this workspace is being served already, by another `atlasloop serve`; end that "
                "one first"
            )
        yield url


@contextmanager
def _no_child_left() -> Iterator[None]:
    """End the runs at work when serving ends: Prefect leaves some behind."""
    try:
        yield
    finally:
        for child in multiprocessing.active_children():
            child.terminate()
            child.join(_CHILD_END_S)
            child.kill()


def _when(schedules: Sequence[object] | None, store: Store) -> str:
    crons = [getattr(getattr(entry, "schedule", None), "cron", None) for entry in schedules or []]
    listed = ", ".join(f"'{cron}' ({store.settings.schedule.timezone})" for cron in crons if cron)
    return listed or "when started by hand, in the server's pages"
