"""The verbs as Prefect flows and their deployments: Prefect decides when, storage what is done.

No result is persisted and nothing is cached: a run that starts again asks storage for unfinished
work. Parameters, states and artifacts lie in Prefect's database, so they name cases by id alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import httpx
from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow
from prefect.runner import Runner
from prefect.runtime import flow_run
from prefect.schedules import Cron, Schedule
from prefect.states import Completed, Crashed, Failed
from prefect.types.entrypoint import EntrypointType

from configs.errors import (
    AtlasLoopError,
    ConfigError,
    NothingToLearnError,
    SchedulerError,
    SomeCasesFailedError,
    UsageError,
)
from configs.settings import ScheduleSettings, load_settings
from configs.taxonomy import use_taxonomy
from flows.boundary import write_fault_log
from flows.case_selection import Selection
from flows.flow_pages import (
    annotation_page,
    failure_rows,
    quarantine_rows,
)
from flows.retrain_options import RetrainOptions
from flows.runs import started_by
from flows.train_request import TrainRequest
from storage.cases import unfinished_cases
from storage.gates import has_labels_since_gate
from storage.model_registry import configured_committee
from storage.process_lock import is_held, process_lock
from storage.queue import is_queue_stale
from storage.store import Store
from storage.workspace import open_workspace

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary, AnnotationRun
    from flows.retrain import RetrainSummary
    from flows.watch import WatchRun, WatchSummary

_LOG = logging.getLogger(__name__)

GPU = "gpu"
"""Tag of the tasks that compute on a device; a limit on it at the server holds for all of them."""
PROCESS_POOL = "process"
_AT_WORK = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])
_BUSY = "an earlier run of this flow is still at work"


class _CasesFailedError(SomeCasesFailedError):
    """What a Failed state carries: Prefect prints its message, which must not name a file.

    Attributes:
        summary: Of the run or chunk.
    """

    def __init__(self, message: str, summary: AnnotateSummary) -> None:
        super().__init__(message)
        self.summary = summary


@dataclass(frozen=True, slots=True)
class Deployments:
    """Flows of a workspace with their schedules.

    Attributes:
        served: Those that ``atlasloop serve`` runs in processes of its own.
        pooled: Those that the workers of ``work_pool`` run.
    """

    served: tuple[RunnerDeployment, ...]
    pooled: tuple[RunnerDeployment, ...] = ()
    work_pool: str | None = None

    @property
    def name(self) -> str:
        """The name that all of them have, and the tag of all their runs."""
        return str(self.served[0].name)


@flow(name="intake", persist_result=False)
def intake(workspace: Path, *, skip_if_running: bool = False) -> State[Any]:
    """Take in what is new and at rest in the watched folders.

    Args:
        workspace: Its folder.
        skip_if_running: Do nothing while an earlier run of this flow is at work.

    Returns:
        Completed, with the WatchSummary: a folder that is away and a file that is bad are told, and
        stop nothing.
    """
    store = _open(workspace)
    with _private_faults(), _single(store, "intake") as alone:
        if skip_if_running and not alone:
            return Completed(message=_BUSY)
        summary = _take_in_watched(store)
    if summary.refused:
        create_table_artifact(quarantine_rows(summary), key="intake-quarantined")
    return Completed(message=summary.sentence(), data=summary)


@flow(name="annotate", persist_result=False)
def annotate(
    workspace: Path,
    *,
    selection: Selection | None = None,
    device: str | None = None,
    place: int = 0,
    skip_if_running: bool = False,
) -> State[Any]:
    """Annotate the unfinished cases chunk by chunk, then rank the queue.

    Runs at the same time share the cases by leases: each takes what no other computes.

    Args:
        workspace: Its folder.
        selection: Which of them; all that have not failed when None.
        device: ``annotate.device`` when None.
        place: Which of the runs that may work at the same time this is.
        skip_if_running: Do nothing while an earlier run of this flow in this place is at work.

    Returns:
        Completed or Failed, with the AnnotateSummary, or None when there was nothing to do.
    """
    store = _open(workspace, None if device is None else {"annotate": {"device": device}})
    with _private_faults(), _single(store, f"annotate-{place}") as alone:
        if skip_if_running and not alone:
            return Completed(message=_BUSY)
        summary = _annotate_unfinished(store, selection or Selection())
        _rank_if_stale(store)
    if summary is None:
        return Completed(message="nothing to annotate")
    _show(store, summary)
    return _state_of(summary)


@flow(name="triage", persist_result=False)
def triage(workspace: Path, *, skip_if_running: bool = False) -> State[Any]:
    """Rank the structures of all annotated cases anew.

    Args:
        workspace: Its folder.
        skip_if_running: Do nothing while an earlier run of this flow is at work.

    Returns:
        Completed, with the entries by kind.
    """
    store = _open(workspace)
    with _private_faults(), _single(store, "triage") as alone:
        if skip_if_running and not alone:
            return Completed(message=_BUSY)
        counts = rank.with_options(**_retries(store))(store.workspace.root)
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return Completed(message=f"queue: {listed}", data=counts)


@flow(name="retrain", persist_result=False)
def retrain(
    workspace: Path,
    *,
    options: RetrainOptions | None = None,
    only_if_new: bool = False,
    skip_if_running: bool = False,
) -> State[Any]:
    """Train challengers on what people judged, and let the gate decide.

    Never tried again by itself: training is long, and the gate has decided when it ends.

    Args:
        workspace: Its folder.
        options: What is wanted; its folders become a parameter that Prefect stores.
        only_if_new: Do nothing, and say so, unless there are labels to learn from and some of them
            came since the last retraining.
        skip_if_running: Do nothing while an earlier run of this flow is at work.

    Returns:
        Completed, with the RetrainSummary, or None when nothing was done.
    """
    store = _open(workspace)
    with _private_faults(), _single(store, "retrain") as alone:
        if skip_if_running and not alone:
            return Completed(message=_BUSY)
        if only_if_new and not _has_new_labels(store):
            return Completed(message="nothing to learn: no label came since the last retraining")
        summary = challenge(store.workspace.root, options, quietly=only_if_new)
    if summary is None:
        return Completed(message="nothing to learn: no label is of a patient who trains")
    page = f"Gate {summary.gate_id}: {summary.decision.outcome}, {summary.labels} labels, "
    create_markdown_artifact(f"{page}{summary.gate_patients} gate patients", key="retrain")
    return Completed(message=str(summary.decision.outcome), data=summary)


@flow(name="train", persist_result=False)
def train(workspace: Path, *, request: TrainRequest) -> State[Any]:
    """Train a model, or go on with a training; a run of it that was killed is gone on with.

    Args:
        workspace: Its folder.
        request: What is wanted; its folders become a parameter that Prefect stores.

    Returns:
        Completed, with the TrainSummary.
    """
    store = _open(workspace, request.flags())
    with _private_faults(), started_by(prefect_flow_run=flow_run.get_id()):
        from flows.train_command import carry_out

        summary = carry_out(store, request)
    said = "another process of torchrun writes the result"
    if summary is not None:
        said = f"{summary.model.name}: loss {summary.final_loss:.3f} after {summary.steps} steps"
        page = f"Model {said}, run {summary.run_id}"
        create_markdown_artifact(page, key="train")
    return Completed(message=said, data=summary)


@task(name="take-in", persist_result=False, cache_policy=NO_CACHE)
def take_in(run: WatchRun, number: int) -> None:
    """Take in one portion of what a look found; trying again registers nothing twice."""
    with _private_faults():
        run.take_in(number)


@task(name="annotate-chunk", persist_result=False, cache_policy=NO_CACHE, tags=[GPU])
def annotate_chunk(run: AnnotationRun, case_ids: Sequence[str]) -> State[Any]:
    """Annotate some cases of a run; Failed when one of them failed, so that Prefect tries again.

    Trying again is safe: what is closed stays closed.
    """
    with _private_faults():
        summary = run.annotate(case_ids)
    return _state_of(summary)


@task(name="rank", persist_result=False, cache_policy=NO_CACHE)
def rank(workspace: Path) -> dict[str, int]:
    """Rank the queue; the snapshot is one transaction, so trying again is safe.

    Takes the folder: Prefect looks into every argument of a task, settings and all.
    """
    from flows.triage import triage as run

    with _private_faults(), started_by(prefect_flow_run=flow_run.get_id()):
        return run(_open(workspace))


@task(name="retrain-and-gate", persist_result=False, cache_policy=NO_CACHE, tags=[GPU])
def challenge(
    workspace: Path, options: RetrainOptions | None, *, quietly: bool
) -> RetrainSummary | None:
    """Retrain and let the gate decide; ``quietly`` gives None where there is nothing to learn."""
    from flows.retrain import retrain as run

    with _private_faults(), started_by(prefect_flow_run=flow_run.get_id()):
        try:
            return run(_open(workspace), options)
        except NothingToLearnError:
            if quietly:
                return None
            raise


def deployments(
    workspace: Path, schedule: ScheduleSettings, *, work_pool: str | None = None
) -> Deployments:
    """Return every flow, tied to a workspace and its schedule; without one it waits for a click.

    Args:
        workspace: Its folder.
        schedule: When, and how many at once.
        work_pool: Name of the pool whose workers run what computes on a device. New files and
            ranks never wait for those.

    Raises:
        ConfigError: A cron expression cannot be read.
    """
    crons = {
        "watch_every": schedule.watch_every if schedule.watch else "",
        "annotate_every": schedule.annotate_every,
        "triage_every": schedule.triage_every,
        "retrain_every": schedule.retrain_every,
    }
    places = [{"device": device, "place": n} for n, device in enumerate(schedule.devices)]

    def make(
        flow: Flow[..., Any],
        key: str,
        *,
        each: Sequence[dict[str, Any]] = ({},),
        **parameters: object,
    ) -> RunnerDeployment:
        made = flow.to_deployment(
            name=_deployment_name(workspace),
            tags=[_deployment_name(workspace)],
            schedules=_schedules(key, crons[key], schedule.timezone, each),
            paused=False,
            parameters={"workspace": str(workspace), "skip_if_running": True, **parameters},
            concurrency_limit=schedule.run_limit,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        return cast(RunnerDeployment, made)  # typed as if it could be awaited

    light = (make(intake, "watch_every"), make(triage, "triage_every"))
    heavy = (
        make(annotate, "annotate_every", each=places or ({},)),
        make(retrain, "retrain_every", only_if_new=True),
    )
    if work_pool is None:
        return Deployments(served=light + heavy)
    return Deployments(served=light, pooled=heavy, work_pool=work_pool)


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


def serve_deployments(made: Deployments, store: Store) -> None:
    """Run the served ones when their time comes, until Ctrl-C or SIGTERM; pause them then.

    Meanwhile runs of all of them whose process is gone are marked as crashed: nobody else tells the
    server when a worker dies together with its runs, and they would count in its limits for good.
    """
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_serve(made, store))


def outcome(state: State[Any]) -> Any:  # noqa: ANN401 each flow has its own
    """Return what a flow called with ``return_state=True`` gave back, or raise what it raised."""
    value = state.result(raise_on_failure=False)
    if isinstance(value, _CasesFailedError):
        return value.summary
    if isinstance(value, BaseException):
        raise value
    return value


async def _serve(made: Deployments, store: Store) -> None:
    runner = Runner()
    loop, task = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())
    # SIGTERM ends us as Ctrl-C does; Prefect's own handler leaves from inside a callback.
    runner.handle_sigterm = lambda *_: loop.call_soon_threadsafe(task.cancel)  # type: ignore[method-assign]
    for deployment in made.served:
        await runner.aadd_deployment(deployment)
    watch = asyncio.create_task(_mark_dead_runs(made.name, store))
    try:
        await runner.start()
    finally:
        watch.cancel()


async def _mark_dead_runs(tag: str, store: Store) -> None:
    """Mark the dead again and again; a server that does not answer is asked again later."""
    suspects: frozenset[UUID] = frozenset()
    while True:
        try:
            suspects = await _mark_dead_runs_once(tag, store, suspects)
        except httpx.HTTPError as error:
            _LOG.warning("dead runs were not looked for: %s", type(error).__name__)
        await asyncio.sleep(store.settings.schedule.dead_after_s / 2)


async def _mark_dead_runs_once(
    tag: str, store: Store, suspects: frozenset[UUID]
) -> frozenset[UUID]:
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
                _life_mark(store, run.id).unlink(missing_ok=True)
                _LOG.warning("flow run %s is marked as crashed, its process is gone", run.id)
    return frozenset(seem_dead)


def _seems_dead(store: Store, run: FlowRun) -> bool:
    """Whether a run is in its state for long enough to hold its lock, and does not."""
    if run.state is None or is_held(_life_mark(store, run.id)):
        return False
    age = datetime.now(UTC) - run.state.timestamp
    return age.total_seconds() > store.settings.schedule.dead_after_s


def _make_pool(client: SyncPrefectClient, name: str, limit: int | None) -> None:
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(name=name, type=PROCESS_POOL, concurrency_limit=limit)
        )
        return
    if pool.type != PROCESS_POOL:
        raise UsageError(
            f"runs need a work pool of type {PROCESS_POOL}, {name!r} is of type {pool.type!r}; "
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


def _schedules(
    key: str, cron: str, timezone: str, each: Sequence[dict[str, Any]]
) -> list[Schedule]:
    if not _checked(key, cron):
        return []
    return [Cron(cron, timezone=timezone, parameters=dict(parameters)) for parameters in each]


def _take_in_watched(store: Store) -> WatchSummary:
    from flows.watch import WatchSummary, look, watch_run

    seen = look(store)
    if not seen.at_rest:
        return WatchSummary(seen)
    with started_by(prefect_flow_run=flow_run.get_id()), watch_run(store, seen) as run:
        for number in run.portions:
            take_in.with_options(**_retries(store))(run, number)
        return run.summary()


def _has_new_labels(store: Store) -> bool:
    with store.read() as connection:
        approved_only = store.settings.review.four_eyes
        return has_labels_since_gate(connection, approved_only=approved_only)


def _show(store: Store, summary: AnnotateSummary) -> None:
    """Leave a page, a table of failures and the place of the report in Prefect's pages."""
    from flows.reports import write_report

    create_markdown_artifact(annotation_page(summary), key="annotate")
    if summary.failed:
        create_table_artifact(failure_rows(summary), key="annotate-failures")
    report = store.workspace.runs_path / f"{summary.run_id}.report.json"
    write_report(report, summary)
    create_link_artifact(report.as_uri(), link_text=report.name, key="annotate-report")


def _annotate_unfinished(store: Store, selection: Selection) -> AnnotateSummary | None:
    """Annotate in chunks; None when nothing is unfinished, found out without loading PyTorch."""
    if not _has_unfinished(store, retry_failed=selection.retry_failed):
        return None
    from flows.annotate import annotation_run

    with (
        started_by(prefect_flow_run=flow_run.get_id()),
        annotation_run(store, selection) as run,
    ):
        get_run_logger().info("run %s: %s", run.run_id, run.estimate())
        _annotate_in_chunks(store, run)
        return run.summary()


def _has_unfinished(store: Store, *, retry_failed: bool) -> bool:
    committee_id = configured_committee(store).committee_id
    with store.read() as connection:
        return bool(unfinished_cases(connection, committee_id, retry_failed=retry_failed))


def _annotate_in_chunks(store: Store, run: AnnotationRun) -> None:
    """Run the chunks one after another; a chunk that fails for good lets the next ones come."""
    chunk_size = store.settings.schedule.chunk_size
    case_ids = [case.case_id for case in run.cases]
    chunk_task = annotate_chunk.with_options(**_retries(store))
    progress = cast(UUID, create_progress_artifact(0.0, key="annotate-progress"))
    faults: list[BaseException] = []
    for start in range(0, len(case_ids), chunk_size):
        state = chunk_task(run, case_ids[start : start + chunk_size], return_state=True)
        result = state.result(raise_on_failure=False)
        if isinstance(result, BaseException) and not isinstance(result, _CasesFailedError):
            faults.append(result)
        done = min(1.0, (start + chunk_size) / len(case_ids))
        update_progress_artifact(progress, round(100 * done, 1))
    if faults:
        raise faults[0]


def _rank_if_stale(store: Store) -> None:
    committee_id = configured_committee(store).committee_id
    with store.read() as connection:
        stale = is_queue_stale(connection, committee_id)
    if stale:
        rank.with_options(**_retries(store))(store.workspace.root)


@contextmanager
def _private_faults() -> Iterator[None]:
    """Let our own errors through, which name ids; any other may name a file, so it goes to a log.

    Raises:
        SchedulerError: In place of an error that is not ours.
    """
    try:
        yield
    except AtlasLoopError:
        raise
    except Exception as error:  # noqa: BLE001 the last place before Prefect stores its text
        log = write_fault_log()
        raise SchedulerError(
            f"a fault of AtlasLoop ({type(error).__name__}); its log is {log}"
        ) from None


def _state_of(summary: AnnotateSummary) -> State[Any]:
    try:
        summary.raise_for_failures()
    except SomeCasesFailedError as error:
        return Failed(message=str(error), data=_CasesFailedError(str(error), summary))
    return Completed(message=f"{len(summary.closed)} cases closed", data=summary)


def _retries(store: Store) -> dict[str, Any]:
    schedule = store.settings.schedule
    return {"retries": schedule.retries, "retry_delay_seconds": schedule.retry_delay_s}


@contextmanager
def _single(store: Store, name: str) -> Iterator[bool]:
    """Mark this flow run as alive, and tell whether it is the only one of its name."""
    with contextlib.ExitStack() as held:
        if (run_id := flow_run.get_id()) is not None:
            held.enter_context(process_lock(_life_mark(store, run_id)))
        yield held.enter_context(process_lock(store.workspace.runs_path / f"{name}.flow.lock"))


def _life_mark(store: Store, flow_run_id: UUID | str) -> Path:
    return store.workspace.runs_path / f"flow-{flow_run_id}.lock"


def _open(workspace: Path, flags: Mapping[str, Any] | None = None) -> Store:
    opened = open_workspace(workspace)
    use_taxonomy(opened.taxonomy_path)
    settings = load_settings(opened.settings_path, dict(flags or {})).settings
    return Store.open(workspace, settings)


def _deployment_name(workspace: Path) -> str:
    """The folder's name, and what tells folders of one name apart on a shared server."""
    digest = hashlib.sha256(str(workspace).encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', workspace.name)}-{digest}"


def _checked(key: str, cron: str) -> bool:
    """Whether there is a cron expression; raises ConfigError for one that cannot be read."""
    if not cron:
        return False
    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise ConfigError(
            f"schedule.{key} is a cron expression such as '*/15 * * * *', or empty for never; got "
            f"{cron!r}"
        ) from error
    return True
