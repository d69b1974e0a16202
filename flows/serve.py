"""Run the flows on their schedule, against a given Prefect server or a local one."""

from __future__ import annotations

import multiprocessing
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from configs.errors import UsageError
from flows.prefect_server import local_server, prepare_environment
from flows.watch import watched_folders
from storage.store import Store

_CHILD_END_S = 10.0


def serve_schedule(
    store: Store, announce: Callable[[str], None], *, work_pool: str | None = None
) -> None:
    """Run the workspace's flows when their time comes, until Ctrl-C or SIGTERM.

    Without PREFECT_API_URL a server is started on this machine, and ended with us. Killing either
    at any instant costs the case at hand; the next run goes on with the rest.

    Args:
        store: The workspace.
        announce: Told where the server is and what runs when.
        work_pool: Name of a pool whose workers annotate and retrain; intake and triage stay here.

    Raises:
        ConfigError: A cron expression cannot be read, or a watched folder holds the workspace.
        SchedulerError: The server does not start, or the given one does not answer.
        UsageError: This workspace is being served already, or the pool is of another type.
    """
    watched = len(watched_folders(store))
    prepare_environment(store.workspace)
    with _server(store) as url:
        from flows.scheduled.deployments import deployments
        from flows.scheduled.registration import register
        from flows.scheduled.serving import serve_deployments

        schedule = store.settings.schedule
        made = deployments(store.workspace.root, schedule, work_pool=work_pool)
        register(made, schedule)
        announce(f"Prefect server: {url.removesuffix('/api')}")
        for deployment in (*made.served, *made.pooled):
            announce(f"{deployment.flow_name}: {_when(deployment.schedules, store)}")
        announce(f"watched folders: {watched}")
        if work_pool is not None:
            announce(
                "annotate and retrain run where somebody says PREFECT_API_URL="
                f"{url} prefect worker start --pool {shlex.quote(work_pool)} --limit 1"
            )
        announce("serving; Ctrl-C ends it")
        with _no_child_left():
            serve_deployments(made, store)


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
    zone = store.settings.schedule.timezone
    counted = Counter(cron for cron in crons if cron)
    listed = ", ".join(
        f"'{cron}' ({zone}){f', {runs} at once' if runs > 1 else ''}"
        for cron, runs in counted.items()
    )
    return listed or "when started by hand, in the server's pages"
