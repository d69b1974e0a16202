"""Commands that look after the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.boundary import guarded
from flows.cli_options import (
    HERE,
    JsonOption,
    WorkspaceOption,
    open_store,
)
from flows.tables import print_json, print_line, print_table

if TYPE_CHECKING:
    pass

commands = typer.Typer()


@commands.command()
@guarded
def status(
    workspace: WorkspaceOption = HERE,
    *,
    config: Annotated[
        bool, typer.Option("--config", help="Each setting, its value and its origin.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the workspace holds and how far the work is.

    Example: atlasloop status --config
    """
    if config:
        _print_config(workspace, as_json=as_json)
        return
    from flows.reports import print_status
    from flows.status import status as run

    summary = run(open_store(workspace))
    if as_json:
        print_json(summary)
    else:
        print_status(summary)


@commands.command()
@guarded
def rebuild(workspace: WorkspaceOption = HERE) -> None:
    """Make the database again from journal and objects.

    Example: atlasloop rebuild
    """
    from storage.rebuild import rebuild as run

    print_line(f"database rebuilt from {run(open_store(workspace))} journal lines")


@commands.command()
@guarded
def verify(workspace: WorkspaceOption = HERE, *, as_json: JsonOption = False) -> None:
    """Check journal, objects and database against each other.

    Example: atlasloop verify
    """
    from flows.reports import print_verification
    from storage.verify import verify as run

    verification = run(open_store(workspace))
    if as_json:
        print_json(verification)
    else:
        print_verification(verification)
    verification.raise_for_findings()


def _print_config(workspace: Path, *, as_json: bool) -> None:
    from configs.settings import load_settings
    from storage.workspace import open_workspace

    origins = load_settings(open_workspace(workspace).settings_path).origins
    if as_json:
        print_json(origins)
    else:
        rows = [(entry.name, str(entry.value), entry.origin) for entry in origins]
        print_table("Settings", ["name", "value", "origin"], rows)
