"""The modules that import Prefect, and what workspaces under it hold."""

import json

import pytest

from flows.intake import intake


@pytest.fixture
def scheduled(monkeypatch):
    """A loader of the modules that import Prefect, which calls nobody."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    return lambda module: pytest.importorskip(f"flows.scheduled.{module}")


@pytest.fixture
def take_in(store, write_ct):
    """Takes new CTs into the workspace, one a seed."""

    def take(folder, seeds):
        for seed in seeds:
            write_ct(folder / f"{seed}.nii.gz", seed=seed)
        intake(store, [folder])

    return take


@pytest.fixture
def lines_of():
    """Tells what the journal's lines of a kind say."""

    def data(store, kind):
        lines = [json.loads(line) for line in store.journal.path.read_text().splitlines()]
        return [line["data"] for line in lines if line["kind"] == kind]

    return data
