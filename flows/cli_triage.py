"""Commands that rank what a human should look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from configs.errors import UsageError
from flows.boundary import guarded
from flows.cli_flow import as_flow, run_flow
from flows.cli_options import HERE, JsonOption, PrefectOption, WorkspaceOption, open_store
from flows.tables import print_json, print_table, warn

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
        if any(_is_given(context, name) for name in ("workspace", "policy", "objective")):
            raise UsageError(f"options of {context.invoked_subcommand} come after its name")
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
    context: typer.Context,
    workspace: WorkspaceOption = HERE,
    truth: Annotated[
        str | None,
        typer.Option(
            help="Judge this workspace's own labels by a source that never saw them: "
            "dataset:NAME or reader:NAME/independent."
        ),
    ] = None,
    committee: Annotated[
        str | None,
        typer.Option(help="With --truth: another committee than the configured one, by its id."),
    ] = None,
    fit_share: Annotated[
        float | None,
        typer.Option(help="With --truth: fit to it on this share of the patients, test on others."),
    ] = None,
    split_seed: Annotated[
        int, typer.Option(min=0, help="With --fit-share: draws these patients.")
    ] = 0,
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
    trained_too: Annotated[
        bool,
        typer.Option("--trained-too", help="With --truth: keep cases that members trained on."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove triage where errors are known, with readers and a clock.

    By default on simulated committees; with --truth on the committee's labels in a workspace.

    Examples: atlasloop triage evaluate --final --workers 2 --folder simulated --out triage.md;
    atlasloop triage evaluate --workspace W --truth dataset:btcv --fit-share 0.5
    """
    from flows.triage_report import evaluation_markdown, truth_markdown

    _check_kind(context, on_truth=truth is not None)
    if truth is not None:
        from flows.triage_truth import TruthPlan, evaluate_on_truth
        from storage.label_sources import parse_source

        of_workspace = TruthPlan(
            source=parse_source(truth),
            committee_id=committee,
            fit_share=fit_share,
            split_seed=split_seed,
            trained_too=trained_too,
            seeds=seeds,
        )
        judged = evaluate_on_truth(open_store(workspace), of_workspace)
        _show(judged, truth_markdown(judged, of_workspace), out, as_json=as_json)
        return
    from flows.progress import shown
    from flows.triage_evaluate import EvaluationPlan, evaluate_triage

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
    _show(evaluation, evaluation_markdown(evaluation, plan), out, as_json=as_json)


_OF_SIMULATION = ("fit", "calibrate", "test", "first", "label_map", "folder", "workers", "final")
_OF_TRUTH = ("workspace", "committee", "fit_share", "split_seed", "trained_too")


def _check_kind(context: typer.Context, *, on_truth: bool) -> None:
    """Refuse options that would change nothing."""
    unfit = _OF_SIMULATION if on_truth else _OF_TRUTH
    given = [name for name in unfit if _is_given(context, name)]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(
            f"{options} is for simulated committees, which --truth leaves out"
            if on_truth
            else f"{options} goes with --truth SOURCE"
        )
    if not on_truth:
        return
    if _is_given(context, "split_seed") and not _is_given(context, "fit_share"):
        raise UsageError("--split-seed goes with --fit-share")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _show(evaluation: object, report: str, out: Path | None, *, as_json: bool) -> None:
    from flows.output_file import replacing

    if out is not None:
        with replacing(out) as temporary:
            temporary.write_text(report, encoding="utf-8")
    if as_json:
        print_json(evaluation)
    else:
        typer.echo(report, nl=False)
