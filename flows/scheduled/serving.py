"""Run deployments when their time comes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import cast

from prefect.runner import Runner

from flows.scheduled.dead_runs import mark_dead_runs
from flows.scheduled.deployments import Deployments
from storage.store import Store


def serve_deployments(made: Deployments, store: Store) -> None:
    """Run the served ones when their time comes, until Ctrl-C or SIGTERM; pause them then.

    Meanwhile runs of all of them whose process is gone are marked as crashed: nobody else tells the
    server when a worker dies together with its runs, and they would count in its limits for good.
    """
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_serve(made, store))


async def _serve(made: Deployments, store: Store) -> None:
    runner = Runner()
    loop, task = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())
    # SIGTERM ends us as Ctrl-C does; Prefect's own handler leaves from inside a callback.
    runner.handle_sigterm = lambda *_: loop.call_soon_threadsafe(task.cancel)  # type: ignore[method-assign]
    for deployment in made.served:
        await runner.aadd_deployment(deployment)
    watch = asyncio.create_task(mark_dead_runs(made.name, store))
    try:
        await runner.start()
    finally:
        watch.cancel()
