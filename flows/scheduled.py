"""The verbs as Prefect flows and their deployments: Prefect decides when, storage what is done.

No result is persisted and nothing is cached: a run that starts again asks storage for unfinished
work. Parameters, states and artifacts lie in Prefect's database, so they name cases by id alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.runner import Runner
from prefect.runtime import flow_run
from prefect.schedules import Cron
from prefect.states import Completed, Failed
from prefect.types.entrypoint import EntrypointType

from configs.errors import AtlasLoopError, ConfigError, SchedulerError, SomeCasesFailedError
from configs.settings import ScheduleSettings, load_settings
from configs.taxonomy import use_taxonomy
from flows.boundary import write_fault_log
from flows.retrain_options import RetrainOptions
from flows.runs import started_by
from flows.train_request import TrainRequest
from storage.cases import unfinished_cases
from storage.model_registry import configured_committee
from storage.process_lock import process_lock
from storage.queue import is_queue_stale
from storage.store import Store
from storage.workspace import open_workspace

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary, AnnotationRun


class _CasesFailedError(SomeCasesFailedError):
    """What a Failed state carries: Prefect prints its message, which must not name a file.

    Attributes:
        summary: Of the run or chunk.
    """

    def __init__(self, message: str, summary: AnnotateSummary) -> None:
        super().__init__(message)
        self.summary = summary


@flow(name="annotate", persist_result=False)
def annotate(
    workspace: Path,
    *,
    chunk_size: int | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    device: str | None = None,
    skip_if_running: bool = False,
) -> State[Any]:
    """Annotate the unfinished cases chunk by chunk, then rank the queue.

    Args:
        workspace: Its folder.
        chunk_size: Cases of one task; ``schedule.chunk_size`` when None.
        limit: Stop after so many cases.
        retry_failed: Try cases again that failed before.
        device: ``annotate.device`` when None.
        skip_if_running: Do nothing while an earlier run of this flow is at work.

    Returns:
        Completed or Failed, with the AnnotateSummary, or None when there was nothing to do.
    """
    store = _open(workspace, None if device is None else {"annotate": {"device": device}})
    with _private_faults(), _single(store, "annotate") as alone:
        if skip_if_running and not alone:
            return Completed(message="an earlier run of this flow is still at work")
        size = chunk_size or store.settings.schedule.chunk_size
        summary = _annotate_unfinished(store, size, limit=limit, retry_failed=retry_failed)
        _rank_if_stale(store)
    if summary is None:
        return Completed(message="nothing to annotate")
    create_markdown_artifact(_annotation_page(summary), key="annotate")
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
            return Completed(message="an earlier run of this flow is still at work")
        counts = rank.with_options(**_retries(store))(store.workspace.root)
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return Completed(message=f"queue: {listed}", data=counts)


@flow(name="retrain", persist_result=False)
def retrain(
    workspace: Path, *, options: RetrainOptions | None = None, skip_if_running: bool = False
) -> State[Any]:
    """Train challengers on what people judged, and let the gate decide.

    Never tried again by itself: training is long, and the gate has decided when it ends.

    Args:
        workspace: Its folder.
        options: What is wanted; its folders become a parameter that Prefect stores.
        skip_if_running: Do nothing while an earlier run of this flow is at work.

    Returns:
        Completed, with the RetrainSummary.
    """
    store = _open(workspace)
    with _private_faults(), _single(store, "retrain") as alone:
        if skip_if_running and not alone:
            return Completed(message="an earlier run of this flow is still at work")
        from flows.retrain import retrain as run

        with started_by(prefect_flow_run=flow_run.get_id()):
            summary = run(store, options)
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


@task(name="annotate-chunk", persist_result=False, cache_policy=NO_CACHE)
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


def deployments(workspace: Path, schedule: ScheduleSettings) -> list[RunnerDeployment]:
    """Return every flow, tied to a workspace and its schedule; without one it waits for a click.

    Raises:
        ConfigError: A cron expression cannot be read.
    """
    table: list[tuple[Flow[..., Any], str, str]] = [
        (annotate, "annotate_every", schedule.annotate_every),
        (triage, "triage_every", schedule.triage_every),
        (retrain, "retrain_every", schedule.retrain_every),
    ]
    made = [
        flow.to_deployment(
            name=_deployment_name(workspace),
            schedules=[Cron(cron, timezone=schedule.timezone)] if _checked(key, cron) else [],
            paused=False,
            parameters={"workspace": str(workspace), "skip_if_running": True},
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for flow, key, cron in table
    ]
    return cast(list[RunnerDeployment], made)  # typed as if it could be awaited


def serve_deployments(served: Sequence[RunnerDeployment]) -> None:
    """Run the deployments when their time comes, until Ctrl-C or SIGTERM; pause them then."""
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_serve(served))


def outcome(state: State[Any]) -> Any:  # noqa: ANN401 each flow has its own
    """Return what a flow called with ``return_state=True`` gave back, or raise what it raised."""
    value = state.result(raise_on_failure=False)
    if isinstance(value, _CasesFailedError):
        return value.summary
    if isinstance(value, BaseException):
        raise value
    return value


async def _serve(served: Sequence[RunnerDeployment]) -> None:
    runner = Runner()
    loop, task = asyncio.get_running_loop(), cast("asyncio.Task[None]", asyncio.current_task())
    # SIGTERM ends us as Ctrl-C does; Prefect's own handler leaves from inside a callback.
    runner.handle_sigterm = lambda *_: loop.call_soon_threadsafe(task.cancel)  # type: ignore[method-assign]
    for deployment in served:
        await runner.aadd_deployment(deployment)
    await runner.start()


def _annotate_unfinished(
    store: Store, chunk_size: int, *, limit: int | None, retry_failed: bool
) -> AnnotateSummary | None:
    """Annotate in chunks; None when nothing is unfinished, found out without loading PyTorch."""
    if not _has_unfinished(store, retry_failed=retry_failed):
        return None
    from flows.annotate import Selection, annotation_run

    with (
        started_by(prefect_flow_run=flow_run.get_id()),
        annotation_run(store, Selection(limit=limit, retry_failed=retry_failed)) as run,
    ):
        get_run_logger().info("run %s: %s", run.run_id, run.estimate())
        _annotate_in_chunks(store, run, chunk_size)
        return run.summary()


def _has_unfinished(store: Store, *, retry_failed: bool) -> bool:
    committee_id = configured_committee(store).committee_id
    with store.read() as connection:
        return bool(unfinished_cases(connection, committee_id, retry_failed=retry_failed))


def _annotate_in_chunks(store: Store, run: AnnotationRun, chunk_size: int) -> None:
    """Run the chunks one after another; a chunk that fails for good lets the next ones come."""
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


def _annotation_page(summary: AnnotateSummary) -> str:
    rows = [
        ("closed", len(summary.closed)),
        ("closed by another run", len(summary.closed_elsewhere)),
        ("left to a run that computes them", len(summary.held_elsewhere)),
        ("failed", len(summary.failed)),
    ]
    lines = [f"Run {summary.run_id}, {summary.committee_id}", "", "| cases | n |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in rows]
    if summary.failed:
        lines += ["", "| failed case | reason |", "|---|---|"]
        lines += [f"| {case.case_id} | {case.reason} |" for case in summary.failed]
    return "\n".join(lines)


def _retries(store: Store) -> dict[str, Any]:
    schedule = store.settings.schedule
    return {"retries": schedule.retries, "retry_delay_seconds": schedule.retry_delay_s}


def _single(store: Store, name: str) -> Any:  # noqa: ANN401 a context manager
    return process_lock(store.workspace.runs_path / f"{name}.flow.lock")


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
