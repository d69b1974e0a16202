"""What the commands share: options, and opening the workspace that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from storage.store import Store

WorkspaceOption = Annotated[
    Path,
    typer.Option("-w", "--workspace", envvar="ATLASLOOP_WORKSPACE", help="The workspace folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DeviceOption = Annotated[
    str | None, typer.Option("-d", "--device", help="auto, cpu, cuda or cuda:N.")
]
ActingOption = Annotated[
    str | None, typer.Option("--as", help="Who does this; review.reader when left out.")
]
PrefectOption = Annotated[
    bool,
    typer.Option("--prefect", help="As a Prefect flow; so too where PREFECT_API_URL is set."),
]
HERE = Path()


def open_store(workspace: Path, flags: dict[str, Any] | None = None) -> Store:
    """Open a workspace with its structures and the settings that flags override.

    Raises:
        UsageError: The folder is no workspace, or a setting or a structure is wrong.
    """
    from configs.settings import load_settings
    from configs.taxonomy import use_taxonomy
    from storage.store import Store
    from storage.workspace import open_workspace

    opened = open_workspace(workspace)
    use_taxonomy(opened.taxonomy_path)
    settings = load_settings(opened.settings_path, flags).settings
    return Store.open(workspace, settings)
