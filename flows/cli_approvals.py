"""The command for who approves the verdicts of others."""

from __future__ import annotations

from typing import Annotated

import typer

from configs.errors import UsageError
from flows.boundary import guarded
from flows.cli_options import HERE, ActingOption, JsonOption, WorkspaceOption, open_store
from flows.tables import print_json

commands = typer.Typer()


@commands.command()
@guarded
def approvals(
    approve: Annotated[
        list[str] | None,
        typer.Option("--approve", help="Start of a verdict's id; may be repeated."),
    ] = None,
    send_back: Annotated[
        str | None, typer.Option("--return", help="Start of the id of a verdict to return.")
    ] = None,
    comment: Annotated[
        str, typer.Option("--comment", help="What is to be done, with --return.")
    ] = "",
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Lines of each kind.")] = 20,
    acting: ActingOption = None,
    workspace: WorkspaceOption = HERE,
    *,
    overrule: Annotated[
        bool, typer.Option("--overrule", help="Also where another decision stands already.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which verdicts wait for a second reader and which were returned, or decide on some.

    Example: atlasloop approvals --approve 3fa9c1d2 --as ben
    """
    from flows.approval_reports import print_approvals, print_decided
    from flows.approvals import approvals as run
    from flows.approvals import decide_on
    from storage.readers import who_acts

    if comment and send_back is None:
        raise UsageError("a comment goes with a return; give --return as well")
    store = open_store(workspace)
    by = who_acts(store.settings.review, acting)
    if not approve and send_back is None:
        found = run(store, by, limit=limit)
        (print_json if as_json else print_approvals)(found)
        return
    decided = [
        decide_on(store, start, "approved", by=by, overrule=overrule) for start in approve or ()
    ]
    if send_back is not None:
        decided.append(
            decide_on(store, send_back, "returned", by=by, comment=comment, overrule=overrule)
        )
    (print_json if as_json else print_decided)(decided)
