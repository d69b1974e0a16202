"""Commands that bring cases and labels in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.boundary import guarded
from flows.cli_options import (
    HERE,
    ActingOption,
    JsonOption,
    WorkspaceOption,
    open_store,
)
from flows.tables import print_json, print_line

if TYPE_CHECKING:
    from storage.store import Store

commands = typer.Typer()


@commands.command()
@guarded
def init(workspace: Annotated[Path, typer.Argument(help="Folder to make.")] = HERE) -> None:
    """Make a workspace.

    Example: atlasloop init ~/abdomen
    """
    from flows.init import init as run

    store = run(workspace)
    print_line(f"workspace ready: {store.workspace.root}")


@commands.command()
@guarded
def intake(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="CT files, or folders of them.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    patients: Annotated[
        Path | None, typer.Option(help="CSV with the columns path and patient.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Files read at a time.")] = 2,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="PATH is this dataset: take its labels in as well."),
    ] = None,
    *,
    watched: Annotated[
        bool,
        typer.Option("--watched", help="What is new in the folders of schedule.watch, at rest."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Register CTs; bad files are quarantined with a reason, the rest goes on.

    Example: atlasloop intake /data/cts --patients patients.csv
    """
    from configs.errors import UsageError
    from flows.intake import intake as run
    from flows.progress import shown
    from flows.reports import print_intake

    store = open_store(workspace)
    if watched != (not paths) or (watched and (dataset or patients)):
        raise UsageError("intake takes paths, or --watched and no --dataset, --patients or path")
    if watched:
        _intake_watched(store, workers=workers, as_json=as_json)
        return
    paths = paths or []
    if dataset is not None:
        _intake_dataset(store, dataset, paths, patients=patients, workers=workers, as_json=as_json)
        return
    with shown("intake") as advance:
        summary = run(store, paths, patients_csv=patients, workers=workers, advance=advance)
    if as_json:
        print_json(summary)
    else:
        print_intake(summary)
    summary.raise_for_refusals()


@commands.command()
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


@commands.command("import-labels")
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
    store = open_store(workspace)
    with shown("import-labels") as advance:
        summary = run(store, folder, dataset=dataset, layout=layout, naming=naming, advance=advance)
    if as_json:
        print_json(summary)
    else:
        print_label_import(summary)
    summary.raise_for_failures()


@commands.command()
@guarded
def release(
    name: Annotated[str | None, typer.Argument(help="Name for the labels as they are now.")] = None,
    acting: ActingOption = None,
    workspace: WorkspaceOption = HERE,
    *,
    reviewed_only: Annotated[
        bool, typer.Option("--reviewed-only", help="Leave out what nobody judged.")
    ] = False,
    require_approval: Annotated[
        bool, typer.Option("--require-approval", help="Leave out what no second reader approved.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Freeze the labels as they are now under a name; without a name, list the releases.

    Example: atlasloop release first
    """
    from flows.label_reports import print_frozen, print_releases
    from storage.readers import who_acts
    from storage.release_bounds import bounds_of
    from storage.releases import freeze_release, releases

    store = open_store(workspace)
    if name is None:
        with store.read() as connection:
            rows, said = releases(connection), bounds_of(connection)
        if as_json:
            print_json(rows)
        else:
            print_releases(rows, [one.statement(store.objects) for one in said])
        return
    by = who_acts(store.settings.review, acting)
    frozen = freeze_release(
        store, name, reviewed_only=reviewed_only, require_approval=require_approval, by=by
    )
    print_frozen(frozen, as_json=as_json)


@commands.command()
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
    acting: ActingOption = None,
    *,
    reviewed_only: Annotated[
        bool, typer.Option("--reviewed-only", help="When freezing now, only what was judged.")
    ] = False,
    require_approval: Annotated[
        bool,
        typer.Option("--require-approval", help="Only what was approved by two."),
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
        require_approval=require_approval,
        structures=tuple(structure or ()),
        cases=tuple(case or ()),
        ct=ct,
        by=acting,
    )
    with shown("export") as advance:
        summary = run(open_store(workspace), out, options, advance=advance)
    if as_json:
        print_json(summary)
    else:
        print_export(summary, out)
    summary.raise_for_failures()


def _intake_watched(store: Store, *, workers: int, as_json: bool) -> None:
    from flows.watch import watch

    summary = watch(store, workers=workers)
    if as_json:
        print_json(summary.to_json())
    else:
        print_line(summary.sentence())
    summary.raise_for_refusals()


def _intake_dataset(
    store: Store,
    dataset: str,
    paths: list[Path],
    *,
    patients: Path | None,
    workers: int,
    as_json: bool,
) -> None:
    from configs.errors import UsageError
    from flows.dataset_reports import print_dataset_intake
    from flows.intake_dataset import intake_dataset
    from flows.progress import shown

    if len(paths) != 1:
        raise UsageError(f"--dataset takes one PATH, the dataset's folder, got {len(paths)}")
    with shown("intake") as advance:
        summary = intake_dataset(
            store, dataset, paths[0], patients_csv=patients, workers=workers, advance=advance
        )
    (print_json if as_json else print_dataset_intake)(summary)
    summary.raise_for_refusals()


def _renamed(pairs: list[str]) -> dict[str, str]:
    from configs.errors import UsageError

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UsageError(f"--name is NAME=STRUCTURE, got {wrong[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs)
