"""What holds every run of a flow: its workspace, a mark that it lives, and faults kept private."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.runtime import flow_run

from configs.errors import AtlasLoopError, SchedulerError
from configs.settings import load_settings
from configs.taxonomy import use_taxonomy
from flows.boundary import write_fault_log
from storage.process_lock import process_lock
from storage.store import Store
from storage.workspace import open_workspace


def open_store(workspace: Path, flags: Mapping[str, Any] | None = None) -> Store:
    """Open a workspace with its taxonomy; flags are nested values above its settings."""
    opened = open_workspace(workspace)
    use_taxonomy(opened.taxonomy_path)
    settings = load_settings(opened.settings_path, dict(flags or {})).settings
    return Store.open(workspace, settings)


@contextmanager
def single(store: Store, name: str) -> Iterator[bool]:
    """Mark this flow run as alive, and tell whether it is the only one of its name."""
    with contextlib.ExitStack() as held:
        if (run_id := flow_run.get_id()) is not None:
            held.enter_context(process_lock(life_mark(store, run_id)))
        yield held.enter_context(process_lock(store.workspace.runs_path / f"{name}.flow.lock"))


def life_mark(store: Store, flow_run_id: UUID | str) -> Path:
    """Return the file that a flow run locks as long as it lives."""
    return store.workspace.runs_path / f"flow-{flow_run_id}.lock"


@contextmanager
def private_faults() -> Iterator[None]:
    """Let our own errors through, which name ids; any other may name a file, so it goes to a log.

    Raises:
        SchedulerError: In place of an error that is not ours.
    """
    try:
        yield
    except AtlasLoopError:
        raise
    except Exception as error:  # noqa: BLE001 the last place before Prefect stores its text
        log = write_fault_log()
        raise SchedulerError(
            f"a fault of AtlasLoop ({type(error).__name__}); its log is {log}"
        ) from None
