"""Command that measures a registered model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.boundary import guarded
from flows.cli_options import HERE, DeviceOption, JsonOption, WorkspaceOption, open_store
from flows.tables import print_json

commands = typer.Typer()


@commands.command()
@guarded
def validate(
    model: Annotated[str, typer.Option("--model", "-m", help="A registered model.")],
    workspace: WorkspaceOption = HERE,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Cohort folder to validate on.")
    ] = None,
    role: Annotated[
        Literal["train", "gate", "report"] | None,
        typer.Option("--role", help="Patients of this role; report when there is no --data."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a row a case and structure.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write all figures as JSON.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of intervals and folds.")] = 0,
    device: DeviceOption = None,
    *,
    truth: Annotated[
        bool, typer.Option("--truth", help="Of cohorts, the hidden masks of all structures.")
    ] = False,
    reviews: Annotated[
        bool, typer.Option("--reviews", help="Only labels made from the AI's masks: no accuracy.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write figures and temperatures into the model's card.")
    ] = False,
    no_surface: Annotated[
        bool, typer.Option("--no-surface", help="Leave out surface Dice: faster.")
    ] = False,
    no_size_limits: Annotated[
        bool, typer.Option("--no-size-limits", help="Count lesion candidates of any size.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on labels that did not train it: lesions found, overlap, calibration.

    Example: atlasloop validate --model first --role gate --keep --csv first.csv
    """
    from flows.progress import shown
    from flows.validate import ValidateOptions
    from flows.validate import validate as run
    from flows.validation_report import (
        print_validation,
        write_validation_csv,
        write_validation_json,
    )

    options = ValidateOptions(
        model=model,
        role=role,
        cohorts=tuple(data or ()),
        truth=truth,
        reviews=reviews,
        keep=keep,
        surface=not no_surface,
        size_limits=not no_size_limits,
        seed=seed,
    )
    store = open_store(workspace, {} if device is None else {"annotate": {"device": device}})
    with shown(f"validate {model}") as advance:
        validation = run(store, options, advance=advance)
    if csv is not None:
        write_validation_csv(csv, validation)
    if report is not None:
        write_validation_json(report, validation)
    if as_json:
        print_json(validation)
    else:
        print_validation(validation)
    validation.raise_for_failures()
