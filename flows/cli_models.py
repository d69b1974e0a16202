"""Commands that train and run models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.errors import UsageError
from flows.boundary import guarded
from flows.cli_options import (
    HERE,
    DeviceOption,
    JsonOption,
    PrefectOption,
    WorkspaceOption,
    open_store,
)
from flows.tables import print_json, print_line, print_table, warn

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary
    from flows.case_selection import Selection
    from flows.retrain import RetrainSummary
    from flows.retrain_options import RetrainOptions
    from flows.train import TrainSummary
    from flows.train_request import TrainRequest
    from storage.store import Store

commands = typer.Typer()

CronOption = Annotated[
    str | None, typer.Option(help="Cron expression; empty for never.", metavar="CRON")
]


@commands.command()
@guarded
def train(
    folder: Annotated[
        list[Path] | None, typer.Argument(help="Cohort folders, as with --data.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="A cohort folder; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="A member of configs/demo_members.toml.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of weights and patches.")] = None,
    init: Annotated[
        str | None, typer.Option("--init", help="First weights: MODEL, champion, RUN or FILE.")
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="learned, one_hot, anatomy or a stored one (`atlasloop encode`)."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Patches at once.")] = None,
    accumulation: Annotated[int | None, typer.Option(min=1, help="Batches a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest rate.")] = None,
    validate_on: Annotated[
        str | None,
        typer.Option(help="gate, report or a cohort folder; else the gate's patients, if any."),
    ] = None,
    validate_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two validations.")
    ] = None,
    checkpoint_every_s: Annotated[float | None, typer.Option(min=0, help="Seconds.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Threads that draw patches.")] = None,
    device: DeviceOption = None,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Go on with this run, or with 'last'.")
    ] = None,
    *,
    activation_checkpointing: Annotated[
        bool | None, typer.Option(help="Less memory, about a third slower.")
    ] = None,
    own_labels: Annotated[
        bool, typer.Option("--own-labels", help="Train on the workspace's labels beside --data.")
    ] = False,
    join: Annotated[bool, typer.Option("--join", help="Add it to the committee.")] = False,
    prefect: PrefectOption = False,
) -> None:
    """Train a model on partially labeled cases and register its weights in the workspace.

    Safe to stop at any time: the same command, or --resume RUN, goes on where it was. Several
    processes: torchrun --nproc-per-node 2 --no-python atlasloop train ...

    Example: atlasloop train --data cohort --name first --join
    """
    from flows.train_request import TrainOverrides, TrainRequest

    train_flags = {
        "batch_size": batch_size,
        "accumulation": accumulation,
        "learning_rate": learning_rate,
        "validate_every": validate_every,
        "checkpoint_every_s": checkpoint_every_s,
        "workers": workers,
        "activation_checkpointing": activation_checkpointing,
    }
    request = TrainRequest(
        folders=(*(folder or ()), *(data or ())),
        name=name,
        overrides=TrainOverrides(
            preset=preset,
            steps=steps,
            seed=seed,
            init=init,
            encoding=encoding,
            own_labels=own_labels,
        ),
        resume=resume,
        join=join,
        validate_on=validate_on,
        settings={key: value for key, value in train_flags.items() if value is not None},
        device=device,
    )
    request.check()
    store = open_store(workspace, request.flags())
    if _as_flow(prefect=prefect):
        summary = _flow("train", store, request=request)
    else:
        summary = _train_here(store, request)
    if summary is not None:
        print_line(
            f"{summary.model.name}: loss {summary.final_loss:.3f} after {summary.steps} steps, "
            f"registered (run {summary.run_id})"
        )


@commands.command()
@guarded
def annotate(
    workspace: WorkspaceOption = HERE,
    device: DeviceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many cases.")] = None,
    cases: Annotated[
        list[str] | None,
        typer.Option("--cases", help="Only these: an id, or a text file with an id a line."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the cases.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the summary as JSON here.")] = None,
    *,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed cases again.")
    ] = False,
    prefect: PrefectOption = False,
    as_json: JsonOption = False,
) -> None:
    """Annotate all unfinished cases with the committee, then rank the queue.

    Safe to stop at any time: a restart goes on with the cases that are not closed.

    Example: atlasloop annotate --device cuda:0 --report report.json
    """
    from flows.reports import print_annotation, write_report

    store = open_store(workspace, _annotate_flags(device, workers))
    selection = _selection(limit, cases, retry_failed=retry_failed)
    if _as_flow(prefect=prefect):
        if workers is not None:
            raise UsageError(
                "under Prefect a run is one process, and several are the workers of a pool (see "
                "docs/on-a-schedule.md); leave out --workers, or unset PREFECT_API_URL"
            )
        summary = _annotate_as_flow(store, device, selection)
    else:
        summary = _annotate_here(store, selection)
    if report is not None:
        write_report(report, summary)
    if as_json:
        print_json(summary)
    else:
        print_annotation(summary)
    summary.raise_for_failures()


@commands.command()
@guarded
def triage(
    workspace: WorkspaceOption = HERE,
    *,
    prefect: PrefectOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rank the structures of all annotated cases anew.

    Example: atlasloop triage
    """
    store = open_store(workspace)
    if _as_flow(prefect=prefect):
        counts = _flow("triage", store)
    else:
        from flows.triage import triage as run

        counts = run(store)
    if as_json:
        print_json(counts)
    else:
        print_table("Queue", ["kind", "entries"], list(counts.items()))


@commands.command()
@guarded
def split(workspace: WorkspaceOption = HERE, *, as_json: JsonOption = False) -> None:
    """Freeze who trains, who decides at the gate and who is only reported; retrain does it too.

    Example: atlasloop split
    """
    from flows.split import split as run

    summary = run(open_store(workspace))
    if as_json:
        print_json(summary)
    else:
        print_table("Patients by role", ["role", "patients"], list(summary.patients.items()))
        if summary.leaked:
            warn(
                f"the scans of {summary.leaked} patients of the gate or the report train under "
                "another name, known only since; nothing is measured on them"
            )


@commands.command()
@guarded
def retrain(
    workspace: WorkspaceOption = HERE,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Cohort folder to train on as well.")
    ] = None,
    member: Annotated[
        list[str] | None, typer.Option("--member", help="Only this member; all when left out.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps a member.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of patches and bootstrap.")] = 0,
    *,
    accept_underpowered: Annotated[
        bool, typer.Option("--accept-underpowered", help="Promote what could not be decided.")
    ] = False,
    prefect: PrefectOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the members on what people judged; the gate decides whether they come into force.

    Example: atlasloop retrain --data cohort
    """
    from flows.reports import print_retraining
    from flows.retrain_options import RetrainOptions

    options = RetrainOptions(
        cohorts=tuple(data or ()),
        members=tuple(member or ()),
        steps=steps,
        seed=seed,
        accept_underpowered=accept_underpowered,
    )
    store = open_store(workspace)
    if _as_flow(prefect=prefect):
        summary = _flow("retrain", store, options=options)
    else:
        summary = _retrain_here(store, options)
    if as_json:
        print_json(summary)
    else:
        print_retraining(summary)


@commands.command()
@guarded
def serve(
    workspace: WorkspaceOption = HERE,
    annotate_every: CronOption = None,
    triage_every: CronOption = None,
    retrain_every: CronOption = None,
    watch_every: CronOption = None,
    work_pool: Annotated[
        str | None,
        typer.Option(help="Prefect pool whose workers annotate and retrain.", metavar="NAME"),
    ] = None,
) -> None:
    """Take in, annotate and retrain on a schedule, under Prefect, until Ctrl-C.

    Reports to the server that PREFECT_API_URL names; without it, to one of its own on 127.0.0.1.
    Folders to watch are the setting schedule.watch.

    Example: atlasloop serve --annotate-every "*/15 * * * *"
    """
    from flows.serve import serve_schedule

    crons = {
        "annotate_every": annotate_every,
        "triage_every": triage_every,
        "retrain_every": retrain_every,
        "watch_every": watch_every,
    }
    flags = {key: cron for key, cron in crons.items() if cron is not None}
    store = open_store(workspace, {"schedule": flags})
    serve_schedule(store, print_line, work_pool=work_pool)


@commands.command()
@guarded
def demo(
    out: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("demo"),
    ct: Annotated[
        list[Path] | None, typer.Option("--ct", help="A CT of yours to annotate too.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal phantoms.")] = 0,
) -> None:
    """Go round once on procedural phantoms: train, annotate, rank, review, retrain.

    Example: atlasloop demo --ct my_ct.nii.gz
    """
    from flows.demo import demo as run
    from flows.demo import print_demo

    print_demo(run(out, extra_cts=ct or [], seed=seed))


def _as_flow(*, prefect: bool) -> bool:
    return prefect or bool(os.environ.get("PREFECT_API_URL"))


def _flow(name: str, store: Store, **parameters: Any) -> Any:  # noqa: ANN401 each flow has its own
    """Run one of the flows in this process and return what it gives back."""
    from flows.prefect_server import join_server

    join_server(store.workspace)
    from flows.scheduled import verbs
    from flows.scheduled.states import outcome

    run = getattr(verbs, name)
    return outcome(run(store.workspace.root, **parameters, return_state=True))


def _annotate_as_flow(store: Store, device: str | None, selection: Selection) -> AnnotateSummary:
    from flows.annotate import empty_summary

    summary = _flow("annotate", store, device=device, selection=selection)
    return summary or empty_summary(store)


def _annotate_here(store: Store, selection: Selection) -> AnnotateSummary:
    from flows.annotate import annotate as run
    from flows.progress import shown
    from flows.stop_signals import raising_on_sigterm
    from flows.triage import triage as rank

    with raising_on_sigterm(), shown("annotate") as advance:
        summary = run(
            store,
            selection,
            announce=lambda text: typer.echo(text, err=True),
            advance=advance,
        )
    rank(store)
    return summary


def _train_here(store: Store, request: TrainRequest) -> TrainSummary | None:
    from flows.progress import stages
    from flows.train_command import carry_out
    from flows.train_loop import TrainingWatch

    with stages() as stage:
        watch = TrainingWatch(
            prepare=stage("prepare cases"),
            advance=stage(f"train {request.name or request.resume}"),
            announce=lambda text: typer.echo(text, err=True),
        )
        return carry_out(store, request, watch)


def _retrain_here(store: Store, options: RetrainOptions) -> RetrainSummary:
    from flows.progress import shown
    from flows.retrain import retrain as run

    with shown("gate") as advance:
        return run(store, options, advance=advance)


def _annotate_flags(device: str | None, workers: int | None) -> dict[str, Any]:
    given = {"device": device, "workers": workers}
    return {"annotate": {name: value for name, value in given.items() if value is not None}}


def _selection(limit: int | None, cases: list[str] | None, *, retry_failed: bool) -> Selection:
    from flows.case_selection import Selection

    named: list[str] = []
    for given in cases or []:
        path = Path(given)
        named += path.read_text().split() if path.is_file() else [given]
    case_ids = None if cases is None else tuple(named)
    return Selection(limit=limit, case_ids=case_ids, retry_failed=retry_failed)
