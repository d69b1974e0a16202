"""The verbs as Prefect flows: Prefect decides when, storage what is done.

No result is persisted and nothing is cached: a run that starts again asks storage for unfinished
work. Parameters, states and artifacts lie in Prefect's database, so they name cases by id alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.case_selection import Selection
from flows.flow_pages import (
    annotation_page,
    failure_rows,
    quarantine_rows,
)
from flows.retrain_options import RetrainOptions
from flows.runs import started_by
from flows.scheduled.run_guard import open_store, private_faults, single
from flows.scheduled.states import CasesFailedError, state_of
from flows.scheduled.tasks import annotate_chunk, challenge, rank, retries, take_in
from flows.train_request import TrainRequest
from storage.cases import unfinished_cases
from storage.gates import has_labels_since_gate
from storage.model_registry import configured_committee
from storage.queue import is_queue_stale
from storage.store import Store

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary, AnnotationRun
    from flows.watch import WatchSummary

_BUSY = "an earlier run of this flow is still at work"


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
    store = open_store(workspace)
    with private_faults(), single(store, "intake") as alone:
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
    store = open_store(workspace, None if device is None else {"annotate": {"device": device}})
    with private_faults(), single(store, f"annotate-{place}") as alone:
        if skip_if_running and not alone:
            return Completed(message=_BUSY)
        summary = _annotate_unfinished(store, selection or Selection())
        _rank_if_stale(store)
    if summary is None:
        return Completed(message="nothing to annotate")
    _show(store, summary)
    return state_of(summary)


@flow(name="triage", persist_result=False)
def triage(workspace: Path, *, skip_if_running: bool = False) -> State[Any]:
    """Rank the structures of all annotated cases anew.

    Args:
        workspace: Its folder.
        skip_if_running: Do nothing while an earlier run of this flow is at work.

    Returns:
        Completed, with the entries by kind.
    """
    store = open_store(workspace)
    with private_faults(), single(store, "triage") as alone:
        if skip_if_running and not alone:
            return Completed(message=_BUSY)
        counts = rank.with_options(**retries(store))(store.workspace.root)
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
    store = open_store(workspace)
    with private_faults(), single(store, "retrain") as alone:
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
    store = open_store(workspace, request.flags())
    with private_faults(), started_by(prefect_flow_run=flow_run.get_id()):
        from flows.train_command import carry_out

        summary = carry_out(store, request)
    said = "another process of torchrun writes the result"
    if summary is not None:
        said = f"{summary.model.name}: loss {summary.final_loss:.3f} after {summary.steps} steps"
        page = f"Model {said}, run {summary.run_id}"
        create_markdown_artifact(page, key="train")
    return Completed(message=said, data=summary)


def _take_in_watched(store: Store) -> WatchSummary:
    from flows.watch import WatchSummary, look, watch_run

    seen = look(store)
    if not seen.at_rest:
        return WatchSummary(seen)
    with started_by(prefect_flow_run=flow_run.get_id()), watch_run(store, seen) as run:
        for number in run.portions:
            take_in.with_options(**retries(store))(run, number)
        return run.summary()


def _has_new_labels(store: Store) -> bool:
    with store.read() as connection:
        return has_labels_since_gate(connection)


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
    chunk_task = annotate_chunk.with_options(**retries(store))
    progress = cast(UUID, create_progress_artifact(0.0, key="annotate-progress"))
    faults: list[BaseException] = []
    for start in range(0, len(case_ids), chunk_size):
        state = chunk_task(run, case_ids[start : start + chunk_size], return_state=True)
        result = state.result(raise_on_failure=False)
        if isinstance(result, BaseException) and not isinstance(result, CasesFailedError):
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
        rank.with_options(**retries(store))(store.workspace.root)
