"""Commands that train models and let them into force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.boundary import guarded
from flows.cli_flow import as_flow, run_flow
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
    from flows.retrain import RetrainSummary
    from flows.retrain_options import RetrainOptions
    from flows.train import TrainSummary
    from flows.train_request import TrainRequest
    from storage.store import Store

commands = typer.Typer()


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
    if as_flow(prefect=prefect):
        summary = run_flow("train", store, request=request)
    else:
        summary = _train_here(store, request)
    if summary is not None:
        print_line(
            f"{summary.model.name}: loss {summary.final_loss:.3f} after {summary.steps} steps, "
            f"registered (run {summary.run_id})"
        )


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
    if as_flow(prefect=prefect):
        summary = run_flow("retrain", store, options=options)
    else:
        summary = _retrain_here(store, options)
    if as_json:
        print_json(summary)
    else:
        print_retraining(summary)


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
