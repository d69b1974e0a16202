import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import review_app
from configs.errors import UsageError
from flows.init import init
from flows.review import _check_store, review
from storage.assignments import assign_readings
from storage.store import Store

PROBE = """
import json, sys
from streamlit.testing.v1 import AppTest
import review_app.server
for parameters in json.loads(sys.argv[2]):
    app = AppTest.from_file(sys.argv[1], default_timeout=120)
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception and not app.error, (app.exception, app.error)
unwanted = ("torch", "monai", "open_clip", "prefect")
print(json.dumps([name for name in unwanted if name in sys.modules]))
"""


def with_settings(store, **values):
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    with store.workspace.settings_path.open("a") as file:
        file.write(f"\n[review]\n{text}\n")
    return Store.open(store.workspace.root)


def start(store):
    review(store, announce=pytest.fail, open_browser=False)


def test_review_needs_a_reader(tmp_path):
    with pytest.raises(UsageError, match="--reader NAME"):
        start(init(tmp_path / "w"))


def test_review_needs_a_queue(tmp_path):
    with pytest.raises(UsageError, match="run `atlasloop annotate` first"):
        start(with_settings(init(tmp_path / "w"), reader="anna"))


def test_review_without_a_queue_serves_who_has_a_reading(make_annotated):
    made = make_annotated()
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM queue_snapshots")
    assign_readings(made.store, reader="anna", case_ids=made.case_ids, structures=["liver"])

    _check_store(made.store, "anna")

    with pytest.raises(UsageError, match="assigned to bert"):
        _check_store(made.store, "bert")


def test_busy_port_is_named(make_annotated):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        store = with_settings(make_annotated().store, reader="anna", port=port)

        with pytest.raises(UsageError, match=f"port {port} .* --port"):
            start(store)


def test_app_s_process_loads_no_network_or_scheduler_library(make_annotated):
    made = make_annotated()
    facts = {"case_id": made.case_ids[0], "structures": ["stomach"], "reader": "anna"}
    with made.store.transaction() as transaction:
        transaction.record("reading.assigned", facts)
    pages = [{}, {"view": "case", "case": made.case_ids[0]}]
    pages += [{"view": "readings"}, {"view": "dashboard"}]
    main = Path(review_app.__file__).with_name("main.py")
    environment = {
        **os.environ,
        "ATLASLOOP_WORKSPACE": str(made.store.workspace.root),
        "ATLASLOOP_REVIEW__READER": "anna",
    }

    finished = subprocess.run(
        [sys.executable, "-c", PROBE, str(main), json.dumps(pages)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout.splitlines()[-1]) == []


@pytest.mark.slow
def test_app_answers_on_the_loopback_alone_and_ends_with_sigterm(make_annotated):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = make_annotated().store.workspace.root
    command = [sys.executable, "-m", "flows.cli", "review", "-w", str(root), "--reader", "anna"]
    command += ["--port", str(port), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app:
        said = next(line for line in app.stdout if "review app" in line)
        assert f"http://127.0.0.1:{port}" in said
        address = f"http://127.0.0.1:{port}/"
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.headers["X-Frame-Options"] == "DENY"
        stranger = urllib.request.Request(address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(stranger, timeout=30)
        refused.value.close()

        app.send_signal(signal.SIGTERM)

        assert app.wait(60) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
