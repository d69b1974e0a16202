"""Commands round what people look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from configs.errors import UsageError
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
    pass

commands = typer.Typer()


@commands.command()
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
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.0, help="Say how far so many predicted minutes reach."),
    ] = None,
    acting: ActingOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what is probably wrong, what brings most first; what you are to judge blind is left out.

    Example: atlasloop queue -n 10 --minutes 60 --html queue.html
    """
    from flows.queue import show_queue, within_minutes
    from flows.reports import print_budget, print_queue

    store = open_store(workspace)
    shown_queue = show_queue(store, limit=limit, structure=structure, reader=acting)
    if html is not None:
        from flows.queue_page import write_queue_page

        write_queue_page(store, shown_queue, html)
    budget = None if minutes is None else within_minutes(store, minutes)
    if as_json:
        print_json(shown_queue if budget is None else {"queue": shown_queue, "budget": budget})
    else:
        print_queue(shown_queue)
        if budget is not None:
            print_budget(budget)
    if html is not None and not as_json:
        print_line(f"page with pictures: {html}")


@commands.command()
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
        open_store(workspace, {"review": given}),
        announce=print_line,
        open_browser=not no_browser,
    )


@commands.command()
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
    known_truth: Annotated[
        str | None,
        typer.Option(
            "--known-truth",
            help="Judge blind what this source knows: dataset:NAME or reader:NAME/independent.",
        ),
    ] = None,
    set_name: Annotated[
        str | None,
        typer.Option("--set", help="A qualification set; with --known-truth a new one."),
    ] = None,
    least_dsc: Annotated[
        float, typer.Option(help="Of a new set: passed from this overlap on.")
    ] = 0.8,
    least_share: Annotated[
        float, typer.Option(help="Of a new set: qualified from this share of items on.")
    ] = 0.8,
    decoys: Annotated[
        int | None,
        typer.Option(min=0, help="Worst items among the blind ones; as many when left out."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of cases.")] = 0,
    acting: ActingOption = None,
    workspace: WorkspaceOption = HERE,
    *,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Judge random items of the queue blind, --random of them."),
    ] = False,
    allow_seen: Annotated[
        bool,
        typer.Option("--allow-seen", help="Also what the reader saw with the AI's mask."),
    ] = False,
    list_open: Annotated[bool, typer.Option("--list", help="Only show what is open.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give a reader cases to draw without the AI's mask; assigning again is a second reading.

    With --audit, --known-truth or --set: items on the queue page, judged with the AI's mask but
    without being told why they were chosen.

    Example: atlasloop assign --reader anna --structure liver --structure spleen --random 17
    """
    from flows.agreement_tables import print_assignments
    from flows.assign import AssignRequest, open_readings
    from flows.assign import assign as run
    from flows.blind import BlindRequest, assign_blindly, blind_counts
    from flows.blind_reports import print_blind, print_blind_counts

    store = open_store(workspace)
    if audit or known_truth or set_name:
        if audit and (known_truth or set_name):
            raise UsageError("an audit draws what nobody knows; give --known-truth and --set apart")
        if reader is None or case:
            raise UsageError("a blind assignment needs --reader and draws its items: no --case")
        wanted = BlindRequest(
            reader=reader,
            random=random,
            decoys=decoys,
            seed=seed,
            structures=tuple(structure or ()),
            known_truth=known_truth,
            set_name=set_name,
            least_dsc=least_dsc,
            least_share=least_share,
            by=acting,
        )
        given = assign_blindly(store, wanted)
        (print_json if as_json else print_blind)(given)
        return
    if list_open:
        if not as_json:
            print_blind_counts(blind_counts(store, reader))
        title, shown = "Open readings", open_readings(store, reader)
    else:
        request = AssignRequest(
            reader=reader,
            structures=tuple(structure or ()),
            case_ids=tuple(case or ()),
            random=random,
            seed=seed,
            allow_seen=allow_seen,
            by=acting,
        )
        title, shown = "Assigned", run(store, request)
    if as_json:
        print_json(shown)
    else:
        print_assignments(title, shown)


@commands.command()
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
    known_truth: Annotated[
        bool,
        typer.Option("--known-truth", help="Readers on items whose truth they were not told."),
    ] = False,
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

    store = open_store(workspace)
    if known_truth:
        from flows.known_truth import known_truth_results, print_known_truth

        results = known_truth_results(store)
        (print_json if as_json else print_known_truth)(results)
        return
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


@commands.command()
@guarded
def qualify(
    name: Annotated[str | None, typer.Argument(help="One set; all when left out.")] = None,
    reader: Annotated[str | None, typer.Option("--reader", help="One reader.")] = None,
    workspace: WorkspaceOption = HERE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show who passed which qualification set; `assign --known-truth --set` makes and gives them.

    Example: atlasloop qualify starters --reader anna
    """
    from flows.known_truth import print_qualifications, qualifications

    rows = qualifications(open_store(workspace), name, reader=reader)
    (print_json if as_json else print_qualifications)(rows)
