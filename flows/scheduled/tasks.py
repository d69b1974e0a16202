"""The parts of the flows that Prefect shows, limits and, all but training, tries again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from configs.errors import NothingToLearnError
from flows.retrain_options import RetrainOptions
from flows.runs import started_by
from flows.scheduled.run_guard import open_store, private_faults
from flows.scheduled.states import state_of
from storage.store import Store

if TYPE_CHECKING:
    from flows.annotate import AnnotationRun
    from flows.retrain import RetrainSummary
    from flows.watch import WatchRun

GPU = "gpu"
"""Tag of the tasks that compute on a device; a limit on it at the server holds for all of them."""


@task(name="take-in", persist_result=False, cache_policy=NO_CACHE)
def take_in(run: WatchRun, number: int) -> None:
    """Take in one portion of what a look found; trying again registers nothing twice."""
    with private_faults():
        run.take_in(number)


@task(name="annotate-chunk", persist_result=False, cache_policy=NO_CACHE, tags=[GPU])
def annotate_chunk(run: AnnotationRun, case_ids: Sequence[str]) -> State[Any]:
    """Annotate some cases of a run; Failed when one of them failed, so that Prefect tries again.

    Trying again is safe: what is closed stays closed.
    """
    with private_faults():
        summary = run.annotate(case_ids)
    return state_of(summary)


@task(name="rank", persist_result=False, cache_policy=NO_CACHE)
def rank(workspace: Path) -> dict[str, int]:
    """Rank the queue; the snapshot is one transaction, so trying again is safe.

    Takes the folder: Prefect looks into every argument of a task, settings and all.
    """
    from flows.triage import triage as run

    with private_faults(), started_by(prefect_flow_run=flow_run.get_id()):
        return run(open_store(workspace))


@task(name="retrain-and-gate", persist_result=False, cache_policy=NO_CACHE, tags=[GPU])
def challenge(
    workspace: Path, options: RetrainOptions | None, *, quietly: bool
) -> RetrainSummary | None:
    """Retrain and let the gate decide; ``quietly`` gives None where there is nothing to learn."""
    from flows.retrain import retrain as run

    with private_faults(), started_by(prefect_flow_run=flow_run.get_id()):
        try:
            return run(open_store(workspace), options)
        except NothingToLearnError:
            if quietly:
                return None
            raise


def retries(store: Store) -> dict[str, Any]:
    """Return a task's options by the settings: how often it is tried again, and after how long."""
    schedule = store.settings.schedule
    return {"retries": schedule.retries, "retry_delay_seconds": schedule.retry_delay_s}
