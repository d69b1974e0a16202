"""Commands that rank what a human should look at."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from configs.errors import UsageError
from flows.boundary import guarded
from flows.cli_flow import as_flow, run_flow
from flows.cli_options import HERE, JsonOption, PrefectOption, WorkspaceOption, open_store
from flows.tables import print_json, print_table

commands = typer.Typer()
_triage = typer.Typer(invoke_without_command=True)
commands.add_typer(_triage, name="triage")


@_triage.callback()
@guarded
def triage(
    context: typer.Context,
    workspace: WorkspaceOption = HERE,
    policy: Annotated[
        str | None,
        typer.Option(help="expected_gain, or disagreement, attention, entropy, volume_outlier, …"),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="release: good labels; learning: what teaches most.")
    ] = None,
    *,
    prefect: PrefectOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rank the structures of all annotated cases anew.

    Example: atlasloop triage --policy expected_gain
    """
    if context.invoked_subcommand is not None:
        return
    given = {"policy": policy, "objective": objective}
    flags: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    store = open_store(workspace, {"triage": flags})
    if as_flow(prefect=prefect):
        if flags:
            raise UsageError(
                "under Prefect the queue is ranked by the settings [triage] policy and objective; "
                "leave out --policy and --objective, or unset PREFECT_API_URL"
            )
        counts = run_flow("triage", store)
    else:
        from flows.triage import triage as run

        counts = run(store)
    if as_json:
        print_json(counts)
    else:
        print_table("Queue", ["kind", "entries"], list(counts.items()))
