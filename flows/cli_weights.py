"""Commands about the workspace's models and published weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.boundary import guarded
from flows.cli_options import HERE, JsonOption, WorkspaceOption, open_store
from flows.tables import print_json, print_line, print_table, warn

if TYPE_CHECKING:
    from flows.weights import ImportSummary

commands = typer.Typer()
weights = typer.Typer(help="Import published weights; list and show models.", no_args_is_help=True)
commands.add_typer(weights, name="weights")


@weights.command(name="import")
@guarded
def import_file(
    file: Annotated[Path, typer.Argument(help="A .pth, .pt or .safetensors file.")],
    name: Annotated[str, typer.Option("--name", help="Name of the model and its card.")],
    text_encoding: Annotated[
        str | None,
        typer.Option(
            "--text-encoding",
            help="File, or name of a stored encoding: the text encodings, where FILE has none.",
            metavar="FILE|NAME",
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
    *,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="You read and accept the weights' licence.")
    ] = False,
    join: Annotated[bool, typer.Option("--join", help="Add it to the committee.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a published universal checkpoint and register it; every tensor fits, or none is taken.

    Example: atlasloop weights import swin_unetr.pth --name published --accept-license --join
    """
    from flows.weights import ImportOptions, import_weights

    options = ImportOptions(text_encoding=text_encoding, accept_license=accept_license, join=join)
    summary = import_weights(open_store(workspace), file, name=name, options=options)
    if as_json:
        print_json(summary)
    else:
        _print_import(summary)


@weights.command(name="list")
@guarded
def list_models(workspace: WorkspaceOption = HERE, *, as_json: JsonOption = False) -> None:
    """List the registered models.

    Example: atlasloop weights list
    """
    from storage.model_registry import registered_models

    store = open_store(workspace)
    models = list(registered_models(store).values())
    if as_json:
        print_json(models)
        return
    voting = {member.weights for member in store.settings.committee}
    columns = ["name", "backbone", "encoding", "parameters", "licence", "votes", "weights"]
    rows = [
        (
            model.name,
            model.card.get("backbone"),
            model.card.get("encoding"),
            model.card.get("parameters"),
            ", ".join((model.card.get("licences") or {}).get("flags", ())) or None,
            "yes" if model.name in voting else "no",
            model.weights[:12],
        )
        for model in models
    ]
    print_table("Models", columns, rows)


@weights.command(name="show")
@guarded
def show_model(
    name: Annotated[str, typer.Argument(help="Name of a model.")],
    workspace: WorkspaceOption = HERE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a model's card as Markdown; it also lies in models/NAME.md of the workspace.

    Example: atlasloop weights show published
    """
    from storage.model_card import card_markdown
    from storage.model_registry import registered_model

    model = registered_model(open_store(workspace), name)
    if as_json:
        print_json(model)
    else:
        typer.echo(card_markdown(model.name, model.weights, model.card), nl=False)


def _print_import(summary: ImportSummary) -> None:
    report, file = summary.report, summary.file
    left_out = sorted({entry.rpartition(".")[2] for entry in report.not_needed})
    rows = [
        ("file", f"{file.name}, SHA-256 {file.sha256}"),
        ("backbone", f"{report.backbone} {dict(report.options)}"),
        ("encoding", report.encoding),
        ("layout", f"{report.layout}, inside {' / '.join(file.wrappers) or 'nothing'}"),
        ("matched", report.matched),
        ("missing", 0),
        ("unexpected", 0),
        ("not needed", f"{len(report.not_needed)} {', '.join(left_out)}".strip()),
        ("left aside", ", ".join(file.left_aside) or None),
    ]
    print_table(f"Imported as {summary.model.name}", ["", "found"], rows)
    for text in report.warnings:
        warn(text)
    print_line(f"{summary.model.name}: {summary.model.card['parameters']:,} parameters, registered")
