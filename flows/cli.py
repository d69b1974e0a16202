"""The command line: thin wrappers that parse, call one verb and print. Heavy imports wait."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import (
    cli_annotate,
    cli_approvals,
    cli_data,
    cli_datasets,
    cli_encode,
    cli_models,
    cli_protocols,
    cli_readers,
    cli_review,
    cli_validate,
    cli_weights,
    cli_workspace,
)
from flows.boundary import show_tracebacks
from flows.tables import print_line

app = typer.Typer(
    name="atlasloop",
    help="Turn unlabeled abdominal CTs into trustworthy labels of 25 organs and 6 tumor types.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    app()


@app.callback(invoke_without_command=True)
def top_level(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="ATLASLOOP_DEBUG", help="Show tracebacks.")
    ] = False,
) -> None:
    """Turn unlabeled abdominal CTs into trustworthy labels of 25 organs and 6 tumor types."""
    show_tracebacks(wanted=debug)
    if version:
        from importlib.metadata import version as installed

        print_line(f"atlasloop {installed('atlasloop')}")
        raise typer.Exit


for group in (
    cli_data,
    cli_datasets,
    cli_encode,
    cli_models,
    cli_protocols,
    cli_annotate,
    cli_readers,
    cli_review,
    cli_approvals,
    cli_validate,
    cli_weights,
    cli_workspace,
):
    app.add_typer(group.commands)


if __name__ == "__main__":
    main()
