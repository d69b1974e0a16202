"""Printing results: a table for people, or JSON for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Cell = str | int | float | None


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows under a title; long cells wrap on a terminal and stay whole in a file."""
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    _console().print(table)


def print_line(text: str) -> None:
    """Print one line as it is."""
    _console().print(text, markup=False, highlight=False)


def print_json(value: object) -> None:
    """Print a result as JSON with sorted keys; a number that is not defined or endless is null."""
    text = json.dumps(_plain(value), indent=2, sort_keys=True, allow_nan=False)
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    """Print a warning on stderr."""
    Console(stderr=True).print(f"warning: {text}", markup=False, highlight=False, style="yellow")


def fail(text: str) -> None:
    """Print an error on stderr."""
    Console(stderr=True).print(f"error: {text}", markup=False, highlight=False, style="red")


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=160)


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _plain(value: object) -> Any:  # noqa: ANN401 whatever JSON can say
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value
