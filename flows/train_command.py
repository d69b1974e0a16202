"""What ``atlasloop train`` does with its flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import typer

from configs.errors import UsageError
from flows.progress import stages
from flows.tables import print_line
from flows.train import resume, train
from flows.train_loop import TrainingWatch
from flows.training_plan import TrainOverrides
from flows.training_validation import training_validation
from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """The flags.

    Attributes:
        folders: Cohort folders.
        name: Of the model.
        overrides: What differs from the preset.
        resume: Run to go on with.
        join: Whether the model joins the committee.
        validate_on: ``gate``, ``report`` or a cohort folder.
        flags: Those given that would change the weights.
    """

    OF_THE_PLAN: ClassVar[frozenset[str]] = frozenset(
        ("batch_size", "accumulation", "learning_rate", "activation_checkpointing")
    )

    folders: tuple[Path, ...]
    name: str | None
    overrides: TrainOverrides
    resume: str | None
    join: bool
    validate_on: str | None
    flags: tuple[str, ...]


def run_train_command(store: Store, request: TrainRequest) -> None:
    """Train or go on training, and say what came of it.

    Raises:
        UsageError: Flags are missing or contradict each other.
    """
    _check(request)
    with stages() as stage:
        watch = TrainingWatch(
            prepare=stage("prepare cases"),
            advance=stage(f"train {request.name or request.resume}"),
            announce=lambda text: typer.echo(text, err=True),
            validate=training_validation(store, request.validate_on),
        )
        if request.resume is not None:
            summary = resume(store, request.resume, join=request.join, watch=watch)
        else:
            summary = train(
                store,
                request.folders,
                name=request.name or "",
                overrides=request.overrides,
                join=request.join,
                watch=watch,
            )
    if summary is not None:
        print_line(
            f"{summary.model.name}: loss {summary.final_loss:.3f} after {summary.steps} steps, "
            f"registered (run {summary.run_id})"
        )


def _check(request: TrainRequest) -> None:
    if request.resume is None:
        if request.name is None:
            raise UsageError("a training needs --name, or --resume RUN")
        return
    given = [request.name, *request.folders, *request.flags]
    if any(value is not None for value in given) or request.overrides != TrainOverrides():
        raise UsageError(
            "a run is resumed with the plan that it began with: leave out data, name and what "
            "would change it; to change it, begin a new run with --init RUN"
        )
