"""Commands that annotate, once or on a schedule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.errors import UsageError
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
from flows.tables import print_json, print_line, warn

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary
    from flows.case_selection import Selection
    from storage.store import Store

commands = typer.Typer()

CronOption = Annotated[
    str | None, typer.Option(help="Cron expression; empty for never.", metavar="CRON")
]


@commands.command()
@guarded
def annotate(
    workspace: WorkspaceOption = HERE,
    device: DeviceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many cases.")] = None,
    cases: Annotated[
        list[str] | None,
        typer.Option("--cases", help="Only these: an id, or a text file with an id a line."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the cases.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the summary as JSON here.")] = None,
    *,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed cases again.")
    ] = False,
    prefect: PrefectOption = False,
    as_json: JsonOption = False,
) -> None:
    """Annotate all unfinished cases with the committee, then rank the queue.

    Safe to stop at any time: a restart goes on with the cases that are not closed.

    Example: atlasloop annotate --device cuda:0 --report report.json
    """
    from flows.case_selection import Selection, named_cases, passed_over
    from flows.reports import print_annotation, write_report

    store = open_store(workspace, _annotate_flags(device, workers))
    named = None if cases is None else named_cases(cases)
    selection = Selection(limit=limit, case_ids=named, retry_failed=retry_failed)
    for line in passed_over(store, selection):
        warn(line)
    if as_flow(prefect=prefect):
        if workers is not None:
            raise UsageError(
                "under Prefect a run is one process, and several are the workers of a pool (see "
                "docs/on-a-schedule.md); leave out --workers, or unset PREFECT_API_URL"
            )
        summary = _annotate_as_flow(store, device, selection)
    else:
        summary = _annotate_here(store, selection)
    if report is not None:
        write_report(report, summary)
    if as_json:
        print_json(summary)
    else:
        print_annotation(summary)
    summary.raise_for_failures()


@commands.command()
@guarded
def serve(
    workspace: WorkspaceOption = HERE,
    annotate_every: CronOption = None,
    triage_every: CronOption = None,
    retrain_every: CronOption = None,
    watch_every: CronOption = None,
    work_pool: Annotated[
        str | None,
        typer.Option(help="Prefect pool whose workers annotate and retrain.", metavar="NAME"),
    ] = None,
) -> None:
    """Take in, annotate and retrain on a schedule, under Prefect, until Ctrl-C.

    Reports to the server that PREFECT_API_URL names; without it, to one of its own on 127.0.0.1.
    Folders to watch are the setting schedule.watch.

    Example: atlasloop serve --annotate-every "*/15 * * * *"
    """
    from flows.serve import serve_schedule

    crons = {
        "annotate_every": annotate_every,
        "triage_every": triage_every,
        "retrain_every": retrain_every,
        "watch_every": watch_every,
    }
    flags = {key: cron for key, cron in crons.items() if cron is not None}
    store = open_store(workspace, {"schedule": flags})
    serve_schedule(store, print_line, work_pool=work_pool)


def _annotate_as_flow(store: Store, device: str | None, selection: Selection) -> AnnotateSummary:
    from flows.annotate import empty_summary

    summary = run_flow("annotate", store, device=device, selection=selection)
    return summary or empty_summary(store)


def _annotate_here(store: Store, selection: Selection) -> AnnotateSummary:
    from flows.annotate import annotate as run
    from flows.progress import shown
    from flows.stop_signals import raising_on_sigterm
    from flows.triage import triage as rank

    with raising_on_sigterm(), shown("annotate") as advance:
        summary = run(
            store,
            selection,
            announce=lambda text: typer.echo(text, err=True),
            advance=advance,
        )
    rank(store)
    return summary


def _annotate_flags(device: str | None, workers: int | None) -> dict[str, Any]:
    given = {"device": device, "workers": workers}
    return {"annotate": {name: value for name, value in given.items() if value is not None}}
