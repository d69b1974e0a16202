"""Tell Prefect's server of limits, of the work pool and of what its workers run."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound

from configs.errors import UsageError
from configs.setting_sections import ScheduleSettings
from flows.scheduled.deployments import Deployments
from flows.scheduled.tasks import GPU

_PROCESS_POOL = "process"


def register(made: Deployments, schedule: ScheduleSettings) -> None:
    """Tell the server of limits, of the work pool and of what its workers are to run.

    Raises:
        UsageError: The pool is there and of another type than process.
    """
    with get_client(sync_client=True) as client:
        if schedule.gpu_limit is not None:
            client.create_concurrency_limit(tag=GPU, concurrency_limit=schedule.gpu_limit)
        if made.work_pool is not None:
            _make_pool(client, made.work_pool, schedule.pool_limit)
        for deployment in made.served:
            _take_out_of_pool(client, deployment)
    for deployment in made.pooled:
        deployment.apply(work_pool_name=made.work_pool)


def _make_pool(client: SyncPrefectClient, name: str, limit: int | None) -> None:
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(name=name, type=_PROCESS_POOL, concurrency_limit=limit)
        )
        return
    if pool.type != _PROCESS_POOL:
        raise UsageError(
            f"runs need a work pool of type {_PROCESS_POOL}, {name!r} is of type {pool.type!r}; "
            "choose another name"
        )
    client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


def _take_out_of_pool(client: SyncPrefectClient, deployment: RunnerDeployment) -> None:
    """Forget a deployment that was in a pool before: Prefect has no way to take it out of one."""
    try:
        known = client.read_deployment_by_name(deployment.full_name)
    except ObjectNotFound:
        return
    if known.work_pool_name is not None:
        client.delete_deployment(known.id)
