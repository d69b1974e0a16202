"""Commands about the definitions that readers go by."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.boundary import guarded
from flows.cli_options import HERE, JsonOption, WorkspaceOption, open_store
from flows.tables import print_json

commands = typer.Typer()
_protocols = typer.Typer()
commands.add_typer(_protocols, name="protocols")


@_protocols.callback()
def protocols() -> None:
    """What belongs to each structure and where it ends; `protocols/*.toml` of a workspace replaces.

    Example: atlasloop protocols list
    """


@_protocols.command("list")
@guarded
def list_protocols(workspace: WorkspaceOption = HERE, *, as_json: JsonOption = False) -> None:
    """List the protocol of each structure, and how many verdicts each version has.

    Example: atlasloop protocols list
    """
    from flows.protocols import list_protocols as run
    from flows.protocols import print_protocols

    rows = run(open_store(workspace))
    (print_json if as_json else print_protocols)(rows)


@_protocols.command("show")
@guarded
def show_protocol(
    structure: Annotated[str, typer.Argument(help="Name in the taxonomy.")],
    version: Annotated[
        str | None,
        typer.Option("--version", help="An older one that verdicts name; its first digits do."),
    ] = None,
    workspace: WorkspaceOption = HERE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what belongs to a structure, what does not, where it ends, and what goes wrong.

    Example: atlasloop protocols show aorta
    """
    from flows.protocols import print_protocol
    from flows.protocols import show_protocol as run

    shown = run(open_store(workspace), structure, version)
    (print_json if as_json else print_protocol)(shown)
