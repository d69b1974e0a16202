"""Run a command's verb as a Prefect flow in this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.store import Store


def as_flow(*, prefect: bool) -> bool:
    """Whether a command runs as a flow: it was asked to, or PREFECT_API_URL is set."""
    return prefect or bool(os.environ.get("PREFECT_API_URL"))


def run_flow(name: str, store: Store, **parameters: Any) -> Any:  # noqa: ANN401 each flow has its own
    """Run one of the flows in this process and return what it gives back."""
    from flows.prefect_server import join_server

    join_server(store.workspace)
    from flows.scheduled import verbs
    from flows.scheduled.states import outcome

    run = getattr(verbs, name)
    return outcome(run(store.workspace.root, **parameters, return_state=True))
