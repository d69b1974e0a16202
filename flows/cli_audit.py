"""Commands round what nobody looked at: the audit, and what follows from it for a release."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.boundary import guarded
from flows.cli_options import (
    HERE,
    ActingOption,
    JsonOption,
    WorkspaceOption,
    open_store,
)
from flows.tables import print_json

commands = typer.Typer()


@commands.command()
@guarded
def audit(
    more: Annotated[
        int | None,
        typer.Option("--more", min=1, help="Draw so many now, whatever the readers' share is."),
    ] = None,
    structure: Annotated[
        list[str] | None, typer.Option("--structure", help="Only this one; may be repeated.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of the random orders; only the first one counts."),
    ] = None,
    acting: ActingOption = None,
    workspace: WorkspaceOption = HERE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Mix labels drawn at random into readers' coming work; `atlasloop triage` does so, too.

    The share is triage.audit_share. What is drawn is shown blind among the worst of the queue, or
    to be read without the AI's mask; `atlasloop bound` says what follows from it.

    Example: atlasloop audit
    """
    from flows.audit import AuditRequest
    from flows.audit import audit as run
    from flows.bound_reports import print_audit
    from storage.model_registry import configured_committee
    from storage.readers import who_acts

    store = open_store(workspace)
    request = AuditRequest(
        more=more,
        structures=tuple(structure or ()),
        seed=seed,
        by=who_acts(store.settings.review, acting),
    )
    given = run(store, configured_committee(store).committee_id, request)
    (print_json if as_json else print_audit)(given)


@commands.command()
@guarded
def bound(
    release: Annotated[str, typer.Option("--release", help="Its name or id.")],
    dsc: Annotated[float, typer.Option("--dsc", help="Labels below it are bad.")] = 0.8,
    confidence: Annotated[
        float, typer.Option("--confidence", help="That what is said is true.")
    ] = 0.95,
    acting: ActingOption = None,
    workspace: WorkspaceOption = HERE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say how many labels of a release that nobody reviewed can be bad at most.

    It follows from the audit alone, by structure and over all, and is recorded in the journal.

    Example: atlasloop bound --release first --dsc 0.8
    """
    from flows.bound import BoundRequest
    from flows.bound import bound as run
    from flows.bound_reports import print_bound
    from storage.readers import who_acts

    store = open_store(workspace)
    request = BoundRequest(
        release=release,
        dsc=dsc,
        confidence=confidence,
        by=who_acts(store.settings.review, acting),
    )
    statement, is_known = run(store, request)
    if as_json:
        print_json({**statement, "recorded_before": is_known})
    else:
        print_bound(statement, is_known=is_known)
