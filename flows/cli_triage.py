"""Commands that rank what a human should look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from configs.errors import UsageError
from flows.boundary import guarded
from flows.cli_flow import as_flow, run_flow
from flows.cli_options import HERE, JsonOption, PrefectOption, WorkspaceOption, open_store
from flows.tables import print_json, print_line, print_table, warn

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
    from flows.audit import missing_readers

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
    if words := missing_readers(store):
        warn(words)


@_triage.command()
@guarded
def evaluate(
    fit: Annotated[int, typer.Option(min=1, help="Patients to fit on.")] = 150,
    calibrate: Annotated[int, typer.Option(min=1, help="Patients of the audit.")] = 240,
    test: Annotated[int, typer.Option(min=1, help="Patients of each tested group.")] = 150,
    first: Annotated[int, typer.Option(min=0, help="Place of the first tested patient.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Readers to replay.")] = 10,
    label_map: Annotated[
        Path | None, typer.Option(help="Label map of a real person, for another anatomy.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keep simulated cases here, and find them again.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Write the report as Markdown here.")] = None,
    *,
    final: Annotated[
        bool,
        typer.Option("--final", help="Test on patients and faults that nothing was tuned on."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove triage on simulated committees whose errors are known, with readers and a clock.

    Example: atlasloop triage evaluate --final --workers 2 --folder simulated --out triage.md
    """
    from flows.output_file import replacing
    from flows.progress import shown
    from flows.triage_evaluate import EvaluationPlan, evaluate_triage
    from flows.triage_report import evaluation_markdown

    plan = EvaluationPlan(
        fit=fit,
        calibrate=calibrate,
        test=test,
        first=first,
        final=final,
        label_map=label_map,
        folder=folder,
        workers=workers,
        seeds=seeds,
    )
    with shown("simulate") as advance:
        evaluation = evaluate_triage(
            plan, announce=lambda text: typer.echo(text, err=True), progress=advance
        )
    report = evaluation_markdown(evaluation, plan)
    if out is not None:
        with replacing(out) as temporary:
            temporary.write_text(report, encoding="utf-8")
    if as_json:
        print_json(evaluation)
    else:
        print_line(report)
