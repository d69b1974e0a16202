"""The command line: thin wrappers that parse, call one verb and print. Heavy imports wait."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.boundary import guarded, show_tracebacks
from flows.tables import print_json, print_line, print_table

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary
    from storage.store import Store

app = typer.Typer(
    name="atlasloop",
    help="Turn unlabeled abdominal CTs into trustworthy labels of 25 organs and 6 tumor types.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

WorkspaceOption = Annotated[
    Path,
    typer.Option("-w", "--workspace", envvar="ATLASLOOP_WORKSPACE", help="The workspace folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DeviceOption = Annotated[
    str | None, typer.Option("-d", "--device", help="auto, cpu, cuda or cuda:N.")
]
PrefectOption = Annotated[
    bool,
    typer.Option("--prefect", help="As a Prefect flow; so too where PREFECT_API_URL is set."),
]
HERE = Path()


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


@app.command()
@guarded
def init(workspace: Annotated[Path, typer.Argument(help="Folder to make.")] = HERE) -> None:
    """Make a workspace.

    Example: atlasloop init ~/abdomen
    """
    from flows.init import init as run

    store = run(workspace)
    print_line(f"workspace ready: {store.workspace.root}")


@app.command()
@guarded
def intake(
    paths: Annotated[list[Path], typer.Argument(help="CT files, or folders of them.")],
    workspace: WorkspaceOption = HERE,
    patients: Annotated[
        Path | None, typer.Option(help="CSV with the columns path and patient.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Files read at a time.")] = 2,
    *,
    as_json: JsonOption = False,
) -> None:
    """Register CTs; bad files are quarantined with a reason, the rest goes on.

    Example: atlasloop intake /data/cts --patients patients.csv
    """
    from flows.intake import intake as run
    from flows.progress import shown
    from flows.reports import print_intake

    store = _open(workspace)
    with shown("intake") as advance:
        summary = run(store, paths, patients_csv=patients, workers=workers, advance=advance)
    if as_json:
        print_json(summary)
    else:
        print_intake(summary)
    summary.raise_for_refusals()


@app.command()
@guarded
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    cases: Annotated[int, typer.Option("--cases", min=1, help="How many CTs.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Equal seeds give equal CTs.")] = 0,
    site: Annotated[
        list[str] | None, typer.Option("--site", help="Only these sites; all when left out.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Make procedural labeled CTs, as partially labeled sites with the whole truth hidden beside.

    Example: atlasloop phantom --cases 12 --seed 1 cohort
    """
    from flows.phantom import make_cohort
    from flows.progress import shown

    with shown("phantom") as advance:
        summary = make_cohort(
            out, cases=cases, seed=seed, sites=site, workers=workers, progress=advance
        )
    print_line(f"{summary.made} made, {summary.kept} kept from before: {out}")


@app.command()
@guarded
def train(
    data: Annotated[Path, typer.Argument(help="A cohort folder of `atlasloop phantom`.")],
    name: Annotated[str, typer.Option("--name", help="Name of the model and its card.")],
    preset: Annotated[
        str | None, typer.Option("--preset", help="A member of configs/demo_members.toml.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of weights and patches.")] = None,
    device: DeviceOption = None,
    *,
    join: Annotated[bool, typer.Option("--join", help="Add it to the committee.")] = False,
) -> None:
    """Train a model on partially labeled cases and register its weights in the workspace.

    Example: atlasloop train cohort --name first --join
    """
    from flows.progress import shown
    from flows.train import TrainOverrides
    from flows.train import train as run

    store = _open(workspace, _device_flag(device))
    overrides = TrainOverrides(preset=preset, steps=steps, seed=seed)
    with shown(f"train {name}") as advance:
        summary = run(store, data, name=name, overrides=overrides, join=join, advance=advance)
    print_line(f"{name}: loss {summary.final_loss:.3f} after {summary.steps} steps, registered")


@app.command()
@guarded
def annotate(
    workspace: WorkspaceOption = HERE,
    device: DeviceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many cases.")] = None,
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
    from flows.reports import print_annotation, write_report

    store = _open(workspace, _device_flag(device))
    if _as_flow(prefect=prefect):
        summary = _annotate_as_flow(store, device, limit, retry_failed=retry_failed)
    else:
        summary = _annotate_here(store, limit, retry_failed=retry_failed)
    if report is not None:
        write_report(report, summary)
    if as_json:
        print_json(summary)
    else:
        print_annotation(summary)
    summary.raise_for_failures()


@app.command()
@guarded
def split(workspace: WorkspaceOption = HERE, *, as_json: JsonOption = False) -> None:
    """Freeze who trains, who decides at the gate and who is only reported; retrain does it too.

    Example: atlasloop split
    """
    from flows.split import split as run

    summary = run(_open(workspace))
    if as_json:
        print_json(summary)
    else:
        print_table("Patients by role", ["role", "patients"], list(summary.patients.items()))


@app.command()
@guarded
def retrain(
    workspace: WorkspaceOption = HERE,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Cohort folder to train on as well.")
    ] = None,
    member: Annotated[
        list[str] | None, typer.Option("--member", help="Only this member; all when left out.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps a member.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of patches and bootstrap.")] = 0,
    *,
    accept_underpowered: Annotated[
        bool, typer.Option("--accept-underpowered", help="Promote what could not be decided.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train the members on what people judged; the gate decides whether they come into force.

    Example: atlasloop retrain --data cohort
    """
    from flows.progress import shown
    from flows.reports import print_retraining
    from flows.retrain import RetrainOptions
    from flows.retrain import retrain as run

    options = RetrainOptions(
        cohorts=tuple(data or ()),
        members=tuple(member or ()),
        steps=steps,
        seed=seed,
        accept_underpowered=accept_underpowered,
    )
    store = _open(workspace)
    with shown("gate") as advance:
        summary = run(store, options, advance=advance)
    if as_json:
        print_json(summary)
    else:
        print_retraining(summary)


@app.command()
@guarded
def triage(
    workspace: WorkspaceOption = HERE,
    *,
    prefect: PrefectOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rank the structures of all annotated cases anew.

    Example: atlasloop triage
    """
    store = _open(workspace)
    if _as_flow(prefect=prefect):
        counts = _flow("triage", store)
    else:
        from flows.triage import triage as run

        counts = run(store)
    if as_json:
        print_json(counts)
    else:
        print_table("Queue", ["kind", "entries"], list(counts.items()))


@app.command()
@guarded
def queue(
    workspace: WorkspaceOption = HERE,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Entries of each kind.")] = 20,
    structure: Annotated[
        str | None, typer.Option("--structure", help="Only this structure.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with pictures here.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what is probably wrong, worst first.

    Example: atlasloop queue -n 10 --html queue.html
    """
    from flows.queue import show_queue
    from flows.reports import print_queue

    store = _open(workspace)
    shown_queue = show_queue(store, limit=limit, structure=structure)
    if html is not None:
        from flows.queue_page import write_queue_page

        write_queue_page(store, shown_queue, html)
    if as_json:
        print_json(shown_queue)
    else:
        print_queue(shown_queue)
    if html is not None and not as_json:
        print_line(f"page with pictures: {html}")


@app.command()
@guarded
def serve(
    workspace: WorkspaceOption = HERE,
    annotate_every: Annotated[
        str | None, typer.Option(help="Cron expression; empty for never.", metavar="CRON")
    ] = None,
    triage_every: Annotated[
        str | None, typer.Option(help="Cron expression; empty for never.", metavar="CRON")
    ] = None,
    retrain_every: Annotated[
        str | None, typer.Option(help="Cron expression; empty for never.", metavar="CRON")
    ] = None,
) -> None:
    """Annotate new cases on a schedule, under Prefect, until Ctrl-C.

    Reports to the server that PREFECT_API_URL names; without it, to one of its own on 127.0.0.1.

    Example: atlasloop serve --annotate-every "*/15 * * * *"
    """
    from flows.serve import serve_schedule

    crons = {
        "annotate_every": annotate_every,
        "triage_every": triage_every,
        "retrain_every": retrain_every,
    }
    flags = {key: cron for key, cron in crons.items() if cron is not None}
    serve_schedule(_open(workspace, {"schedule": flags}), print_line)


@app.command()
@guarded
def release(
    name: Annotated[str | None, typer.Argument(help="Name for the labels as they are now.")] = None,
    workspace: WorkspaceOption = HERE,
    *,
    reviewed_only: Annotated[
        bool, typer.Option("--reviewed-only", help="Leave out what nobody judged.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Freeze the labels as they are now under a name; without a name, list the releases.

    Example: atlasloop release first
    """
    from flows.label_reports import print_frozen, print_releases
    from storage.releases import freeze_release, releases

    store = _open(workspace)
    if name is None:
        with store.read() as connection:
            rows = releases(connection)
        (print_json if as_json else print_releases)(rows)
        return
    frozen = freeze_release(store, name, reviewed_only=reviewed_only)
    print_frozen(frozen, as_json=as_json)


@app.command()
@guarded
def export(
    out: Annotated[Path, typer.Argument(help="Folder to make, or to go on with.")],
    layout: Annotated[
        Literal["abdomenatlas", "nnunet", "msd", "totalsegmentator"],
        typer.Option("--layout", help="What the folder is to look like."),
    ],
    workspace: WorkspaceOption = HERE,
    release: Annotated[
        str | None,
        typer.Option("--release", help="Its name or id; an unused name freezes the labels now."),
    ] = None,
    structure: Annotated[
        list[str] | None, typer.Option("--structure", help="Only this one; may be repeated.")
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option("--case", help="Only this case id; may be repeated.")
    ] = None,
    *,
    reviewed_only: Annotated[
        bool, typer.Option("--reviewed-only", help="When freezing now, only what was judged.")
    ] = False,
    ct: Annotated[
        Literal["copy", "link", "none"],
        typer.Option(
            "--ct",
            help="copy: voxels in a file without names; link: a symbolic link, which shows the "
            "source's path, where that is .nii.gz; none: labels alone.",
        ),
    ] = "copy",
    as_json: JsonOption = False,
) -> None:
    """Write a release of labels as a folder that other tools read, with provenance per label.

    Safe to stop at any time: the same command goes on. Nothing is ever mixed into another export.

    Example: atlasloop export ~/release1 --layout abdomenatlas --release first
    """
    from flows.export import ExportOptions
    from flows.export import export as run
    from flows.label_reports import print_export
    from flows.progress import shown

    options = ExportOptions(
        layout=layout,
        release=release,
        reviewed_only=reviewed_only,
        structures=tuple(structure or ()),
        cases=tuple(case or ()),
        ct=ct,
    )
    with shown("export") as advance:
        summary = run(_open(workspace), out, options, advance=advance)
    if as_json:
        print_json(summary)
    else:
        print_export(summary, out)
    summary.raise_for_failures()


@app.command("import-labels")
@guarded
def import_labels(
    folder: Annotated[Path, typer.Argument(help="Folder with the labels.")],
    dataset: Annotated[str, typer.Option("--dataset", help="Name of the source, yours to choose.")],
    workspace: WorkspaceOption = HERE,
    layout: Annotated[
        Literal["auto", "abdomenatlas", "totalsegmentator", "nnunet", "msd", "cohort"],
        typer.Option("--layout", help="How the folder is laid out."),
    ] = "auto",
    structure: Annotated[
        list[str] | None,
        typer.Option("--structure", help="What was annotated, where the files do not say."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="NAME=STRUCTURE: what a name in the files means."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Record a dataset's labels of cases that are in the workspace, e.g. to measure agreement.

    Example: atlasloop import-labels Task03_Liver --dataset msd-liver --name cancer=liver_tumor
    """
    from flows.import_labels import import_labels as run
    from flows.label_reports import print_label_import
    from flows.progress import shown
    from storage.label_sets import LabelNaming

    naming = LabelNaming(structures=tuple(structure or ()), renamed=_renamed(name or []))
    store = _open(workspace)
    with shown("import-labels") as advance:
        summary = run(store, folder, dataset=dataset, layout=layout, naming=naming, advance=advance)
    if as_json:
        print_json(summary)
    else:
        print_label_import(summary)
    summary.raise_for_failures()


@app.command()
@guarded
def assign(
    reader: Annotated[str | None, typer.Option("--reader", help="Who is to read.")] = None,
    structure: Annotated[
        list[str] | None, typer.Option("--structure", help="What to draw; may be repeated.")
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option("--case", help="A case id; may be repeated.")
    ] = None,
    random: Annotated[
        int | None,
        typer.Option("--random", min=1, help="So many cases that are new to the reader."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of cases.")] = 0,
    workspace: WorkspaceOption = HERE,
    *,
    allow_seen: Annotated[
        bool,
        typer.Option("--allow-seen", help="Also what the reader saw with the AI's mask."),
    ] = False,
    list_open: Annotated[bool, typer.Option("--list", help="Only show what is open.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give a reader cases to draw without the AI's mask; assigning again is a second reading.

    Example: atlasloop assign --reader anna --structure liver --structure spleen --random 17
    """
    from flows.agreement_tables import print_assignments
    from flows.assign import AssignRequest, open_readings
    from flows.assign import assign as run

    store = _open(workspace)
    if list_open:
        title, shown = "Open readings", open_readings(store, reader)
    else:
        request = AssignRequest(
            reader=reader,
            structures=tuple(structure or ()),
            case_ids=tuple(case or ()),
            random=random,
            seed=seed,
            allow_seen=allow_seen,
        )
        title, shown = "Assigned", run(store, request)
    if as_json:
        print_json(shown)
    else:
        print_assignments(title, shown)


@app.command()
@guarded
def agreement(
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two label sources, such as committee reader:anna; see --list."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="One more source; every two are compared. May be repeated."),
    ] = None,
    structure: Annotated[
        list[str] | None, typer.Option("--structure", help="Only this one; may be repeated.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write a row a case here, a row a structure beside it.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a .png or .svg.")] = None,
    role: Annotated[
        Literal["train", "gate", "report"] | None,
        typer.Option("--role", help="Only patients of this role; `report` trained no model."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the intervals' draws.")] = 0,
    workspace: WorkspaceOption = HERE,
    *,
    list_sources: Annotated[
        bool, typer.Option("--list", help="Only show what can be compared.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare label sources on the cases that both have: overlap, surfaces, lesions.

    Example: atlasloop agreement --between committee reader:anna/independent --plot agreement.png
    """
    from flows.agreement import agreement as run
    from flows.agreement_csv import write_agreement_csv
    from flows.agreement_plot import check_plot_path, write_agreement_plot
    from flows.agreement_tables import print_agreement, print_sources
    from flows.progress import shown
    from storage.label_sources import known_sources

    store = _open(workspace)
    if list_sources or between is None:
        sources = known_sources(store)
        if as_json:
            print_json(sources)
        else:
            print_sources(sources)
        return
    if plot is not None:
        check_plot_path(plot)
    with shown("agreement") as advance:
        pairs = run(
            store,
            [*between, *(also or ())],
            structures=structure or (),
            role=role,
            seed=seed,
            advance=advance,
        )
    if as_json:
        print_json(pairs)
    else:
        print_agreement(pairs)
    if csv is not None:
        write_agreement_csv(csv, pairs)
    if plot is not None:
        write_agreement_plot(plot, pairs)


@app.command()
@guarded
def review(
    workspace: WorkspaceOption = HERE,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Who reviews; goes into every verdict.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1024, max=65535, help="On 127.0.0.1.")
    ] = None,
    *,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address only.")
    ] = False,
) -> None:
    """Look at the queue in a browser on this machine, and accept, correct or reject labels.

    Example: atlasloop review --reader anna
    """
    from flows.review import review as run

    flags = {"reader": reader, "port": port}
    given = {name: value for name, value in flags.items() if value is not None}
    run(
        _open(workspace, {"review": given}),
        announce=print_line,
        open_browser=not no_browser,
    )


@app.command()
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

    summary = run(_open(workspace))
    if as_json:
        print_json(summary)
    else:
        print_status(summary)


@app.command()
@guarded
def rebuild(workspace: WorkspaceOption = HERE) -> None:
    """Make the database again from journal and objects.

    Example: atlasloop rebuild
    """
    from storage.rebuild import rebuild as run

    print_line(f"database rebuilt from {run(_open(workspace))} journal lines")


@app.command()
@guarded
def verify(workspace: WorkspaceOption = HERE, *, as_json: JsonOption = False) -> None:
    """Check journal, objects and database against each other.

    Example: atlasloop verify
    """
    from flows.reports import print_verification
    from storage.verify import verify as run

    verification = run(_open(workspace))
    if as_json:
        print_json(verification)
    else:
        print_verification(verification)
    verification.raise_for_findings()


@app.command()
@guarded
def demo(
    out: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("demo"),
    ct: Annotated[
        list[Path] | None, typer.Option("--ct", help="A CT of yours to annotate too.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal phantoms.")] = 0,
) -> None:
    """Run the main job once on procedural phantoms: train, annotate, rank, score.

    Example: atlasloop demo --ct my_ct.nii.gz
    """
    from flows.demo import demo as run
    from flows.demo import print_demo

    print_demo(run(out, extra_cts=ct or [], seed=seed))


def _open(workspace: Path, flags: dict[str, Any] | None = None) -> Store:
    from configs.settings import load_settings
    from storage.store import Store
    from storage.workspace import open_workspace

    settings = load_settings(open_workspace(workspace).settings_path, flags).settings
    return Store.open(workspace, settings)


def _as_flow(*, prefect: bool) -> bool:
    return prefect or bool(os.environ.get("PREFECT_API_URL"))


def _flow(name: str, store: Store, **parameters: Any) -> Any:  # noqa: ANN401 each flow has its own
    """Run one of the flows in this process and return what it gives back."""
    from flows.prefect_server import join_server

    join_server(store.workspace)
    from flows import scheduled

    run = getattr(scheduled, name)
    return scheduled.outcome(run(store.workspace.root, **parameters, return_state=True))


def _annotate_as_flow(
    store: Store, device: str | None, limit: int | None, *, retry_failed: bool
) -> AnnotateSummary:
    from flows.annotate import empty_summary

    summary = _flow("annotate", store, device=device, limit=limit, retry_failed=retry_failed)
    return summary or empty_summary(store)


def _annotate_here(store: Store, limit: int | None, *, retry_failed: bool) -> AnnotateSummary:
    from flows.annotate import annotate as run
    from flows.progress import shown
    from flows.triage import triage as rank

    with shown("annotate") as advance:
        summary = run(
            store,
            limit=limit,
            retry_failed=retry_failed,
            announce=lambda text: typer.echo(text, err=True),
            advance=advance,
        )
    rank(store)
    return summary


def _renamed(pairs: list[str]) -> dict[str, str]:
    from configs.errors import UsageError

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UsageError(f"--name is NAME=STRUCTURE, got {wrong[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def _device_flag(device: str | None) -> dict[str, Any]:
    return {} if device is None else {"annotate": {"device": device}}


def _print_config(workspace: Path, *, as_json: bool) -> None:
    from configs.settings import load_settings
    from storage.workspace import open_workspace

    origins = load_settings(open_workspace(workspace).settings_path).origins
    if as_json:
        print_json(origins)
    else:
        rows = [(entry.name, str(entry.value), entry.origin) for entry in origins]
        print_table("Settings", ["name", "value", "origin"], rows)


if __name__ == "__main__":
    main()
