"""Commands about the public datasets that AtlasLoop knows."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.boundary import guarded
from flows.cli_options import JsonOption
from flows.tables import print_json

commands = typer.Typer()
_datasets = typer.Typer()
commands.add_typer(_datasets, name="datasets")


@_datasets.callback()
def datasets() -> None:
    """Which public datasets are known, and what their labels mean.

    Example: atlasloop datasets list
    """


@_datasets.command("list")
@guarded
def list_datasets(*, as_json: JsonOption = False) -> None:
    """List the datasets that `atlasloop intake --dataset ID` takes.

    Example: atlasloop datasets list
    """
    from configs.connectors import load_datasets
    from flows.dataset_reports import print_datasets

    if as_json:
        print_json({name: dataset.model_dump() for name, dataset in load_datasets().items()})
    else:
        print_datasets()


@_datasets.command("show")
@guarded
def show_dataset(
    dataset: Annotated[str, typer.Argument(help="Its id, see `atlasloop datasets list`.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a dataset: licence, layout on disk, what its values mean, shared scans.

    Example: atlasloop datasets show amos22_ct
    """
    from configs.connectors import load_dataset
    from flows.dataset_reports import print_dataset

    found = load_dataset(dataset)
    if as_json:
        print_json(found.model_dump())
    else:
        print_dataset(found)
