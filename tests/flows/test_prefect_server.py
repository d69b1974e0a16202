import os

import pytest

from configs.errors import SchedulerError
from flows.prefect_server import check_api, local_server, prepare_environment, serve_lock_path
from storage.process_lock import process_lock


def test_server_that_does_not_answer_is_a_clear_error():
    with pytest.raises(SchedulerError, match="none answers"):
        check_api("http://127.0.0.1:9/api")


def test_local_server_keeps_leases_where_they_outlive_it_and_calls_nobody(store, monkeypatch):
    monkeypatch.setattr("os.environ", {})

    prepare_environment(store.workspace)

    assert os.environ["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_HOME"] == str(store.workspace.runs_path / "prefect")


def test_workspace_is_served_once(store):
    with (
        process_lock(serve_lock_path(store.workspace)),
        local_server(store.workspace, 4200) as url,
    ):
        assert url is None
