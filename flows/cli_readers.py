"""Commands about who may do what."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.boundary import guarded
from flows.cli_options import HERE, ActingOption, JsonOption, WorkspaceOption, open_store
from flows.tables import print_json, print_line

commands = typer.Typer()
_readers = typer.Typer()
commands.add_typer(_readers, name="readers")

ReaderArgument = Annotated[str, typer.Argument(help="The reader's name.")]


@_readers.callback()
def readers() -> None:
    """Who may look, judge, approve and manage; open to all until somebody is registered.

    Example: atlasloop readers add anna --role admin
    """


@_readers.command("list")
@guarded
def list_readers(workspace: WorkspaceOption = HERE, *, as_json: JsonOption = False) -> None:
    """List the registered readers and what each role may do.

    Example: atlasloop readers list
    """
    from flows.reader_reports import print_readers
    from storage.reader_registry import registered_readers

    with open_store(workspace).read() as connection:
        found = registered_readers(connection)
    (print_json if as_json else print_readers)(found)


@_readers.command("add")
@guarded
def add_reader(
    name: ReaderArgument,
    role: Annotated[
        Literal["annotator", "reviewer", "admin"],
        typer.Option("--role", help="What the reader is."),
    ],
    acting: ActingOption = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Register a reader, or change a role; the first one is an admin.

    Example: atlasloop readers add ben --role annotator --as anna
    """
    from storage.reader_registry import register_reader
    from storage.readers import who_acts
    from storage.roles import Role

    store = open_store(workspace)
    register_reader(store, name, Role(role), by=who_acts(store.settings.review, acting))
    print_line(f"{name} is registered as {role}")


@_readers.command("remove")
@guarded
def remove(
    name: ReaderArgument, acting: ActingOption = None, workspace: WorkspaceOption = HERE
) -> None:
    """Take a reader's role away; verdicts and versions keep the name.

    Example: atlasloop readers remove ben --as anna
    """
    from flows.reader_reports import print_open
    from storage.reader_registry import registered_readers, remove_reader
    from storage.readers import who_acts

    store = open_store(workspace)
    remove_reader(store, name, by=who_acts(store.settings.review, acting))
    print_line(f"{name} is no registered reader any more")
    with store.read() as connection:
        if not registered_readers(connection):
            print_open()
