import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest

from storage.process_lock import process_lock


@pytest.fixture
def dead_runs(scheduled):
    return scheduled("dead_runs")


def test_only_a_run_that_twice_holds_no_lock_for_long_is_marked_as_crashed(
    dead_runs, store, monkeypatch
):
    long_ago = datetime.now(UTC) - timedelta(seconds=301)
    dead, alive, young = (
        SimpleNamespace(id=uuid4(), state=SimpleNamespace(timestamp=at))
        for at in (long_ago, long_ago, datetime.now(UTC))
    )
    marked = []

    class Client(contextlib.AbstractAsyncContextManager):
        async def __aexit__(self, *_):
            return None

        async def read_flow_runs(self, **_):
            return [dead, alive, young]

        async def set_flow_run_state(self, run_id, state, *, force):
            marked.append((run_id, state.name, force))

    monkeypatch.setattr(dead_runs, "get_client", Client)
    with process_lock(dead_runs.life_mark(store, alive.id)):
        look = dead_runs.mark_dead_runs_once
        suspects = asyncio.run(look("w-1", store, frozenset()))
        after_one_look = list(marked)
        asyncio.run(look("w-1", store, suspects))

    assert suspects == {dead.id}
    assert after_one_look == []
    assert marked == [(dead.id, "Crashed", True)]
