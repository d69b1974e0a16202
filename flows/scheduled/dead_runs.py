"""Mark the runs whose process is gone: nobody else tells Prefect's server."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed

from flows.scheduled.run_guard import life_mark
from storage.process_lock import is_held
from storage.store import Store

_LOG = logging.getLogger(__name__)
_AT_WORK = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])


async def mark_dead_runs(tag: str, store: Store) -> None:
    """Mark the dead again and again; a server that does not answer is asked again later."""
    suspects: frozenset[UUID] = frozenset()
    while True:
        try:
            suspects = await mark_dead_runs_once(tag, store, suspects)
        except httpx.HTTPError as error:
            _LOG.warning("dead runs were not looked for: %s", type(error).__name__)
        await asyncio.sleep(store.settings.schedule.dead_after_s / 2)


async def mark_dead_runs_once(tag: str, store: Store, suspects: frozenset[UUID]) -> frozenset[UUID]:
    """Mark the suspects of the last look that still seem dead; returns who is a suspect now.

    Two looks, since a run that has just ended holds no lock and has not told the server yet.
    """
    seem_dead: set[UUID] = set()
    async with get_client() as client:
        for run in await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=_AT_WORK), tags=FlowRunFilterTags(all_=[tag])
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,  # oldest first, should there be many
            limit=200,
        ):
            if not _seems_dead(store, run):
                continue
            seem_dead.add(run.id)
            if run.id in suspects:
                message = "its process is gone; the next run goes on with the rest"
                await client.set_flow_run_state(run.id, Crashed(message=message), force=True)
                life_mark(store, run.id).unlink(missing_ok=True)
                _LOG.warning("flow run %s is marked as crashed, its process is gone", run.id)
    return frozenset(seem_dead)


def _seems_dead(store: Store, run: FlowRun) -> bool:
    """Whether a run is in its state for long enough to hold its lock, and does not."""
    if run.state is None or is_held(life_mark(store, run.id)):
        return False
    age = datetime.now(UTC) - run.state.timestamp
    return age.total_seconds() > store.settings.schedule.dead_after_s
