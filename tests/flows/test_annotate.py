import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from configs.errors import ConfigError, Reason, UsageError
from flows.annotate import annotate, annotation_run
from flows.case_selection import Selection
from flows.case_stages import CaseStages
from flows.cli import app
from flows.intake import intake
from flows.status import status
from flows.triage import triage
from storage.grid import Grid
from storage.masks import decode_mask
from storage.model_registry import register_model
from storage.predictions import closed_predictions, masks_of, nested_box
from storage.rebuild import rebuild
from storage.store import Store
from storage.verify import verify
from tests.stored_scores import scores_of

VIEWS = ("closed_cases", "scores", "masks", "maps", "current_queue", "open_failures")


def take_in(store, write_ct, folder, count):
    for seed in range(count):
        write_ct(folder / f"{seed}.nii.gz", seed=seed)
    intake(store, [folder])
    return store


def objects_of(store):
    return set(store.objects.digests())


def score_values(store):
    """All scores without what a run is named by."""
    with store.read() as connection:
        return connection.execute(
            """SELECT c.case_id, s.* EXCLUDE (prediction_id) FROM closed_cases c
               JOIN scores s USING (prediction_id) ORDER BY ALL"""
        ).fetchall()


def view(store, name):
    return view_of(store, f"SELECT * FROM {name} ORDER BY ALL")


def view_of(store, sql):
    with store.read() as connection:
        return connection.execute(sql).fetchall()


def test_every_case_is_closed_with_rows_for_members_and_committee(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 2)

    summary = annotate(store)

    assert len(summary.closed) == 2
    with store.read() as connection:
        records = scores_of(connection, summary.committee_id)
    assert len(records) == 2 * 4 * 3
    assert {record.member for record in records} == {"m0", "m1", "committee"}
    assert verify(store).findings == ()


def test_scores_of_triage_come_to_the_index_and_again_when_it_is_rebuilt(store, write_ct, tmp_path):
    # One family: nobody else can disagree with its first member.
    path = store.workspace.settings_path
    off = 'autocast = "off"\n'
    text = path.read_text().replace(off, f"{off}test_time_passes = 2\n")
    path.write_text(re.sub(r'family = "\w+"', 'family = "one"', text))
    store = take_in(Store.open(store.workspace.root), write_ct, tmp_path / "cts", 1)
    columns = "structure, tta_dice, pairwise_dice_least, attention_voxels, attention_heat"

    annotate(store)

    sql = f"SELECT member, {columns}, attention_mm3, entropy_worst FROM scores ORDER BY ALL"
    rows = view_of(store, sql)
    committee = [row for row in rows if row[0] == "committee"]
    assert len(committee) == 4
    assert all(0 <= row[2] <= 1 and 0 <= row[3] <= 1 for row in committee)
    assert {row[2] for row in rows if row[0] == "m1"} == {None}
    seen = [row for row in committee if row[4] is not None]
    assert seen
    assert all(None not in row for row in seen)
    rebuild(store)
    assert view_of(store, sql) == rows
    assert verify(store).findings == ()


def test_restart_recomputes_no_closed_case(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 2)
    annotate(store, Selection(limit=1))

    assert len(annotate(store).closed) == 1
    assert annotate(store).closed == ()


def test_new_weights_are_a_new_committee(store, write_ct, make_checkpoint, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 1)
    first = annotate(store).committee_id
    register_model(store, "w0", make_checkpoint(seed=9), {})

    second = annotate(store)

    assert second.committee_id != first
    assert len(second.closed) == 1


def test_masks_lie_on_the_files_own_grid(store, write_ct, tmp_path):
    oblique = nibabel.affines.from_matvec(
        np.array([[0, -5.8, 1.55], [-6, 0, 0], [0, 1.55, 5.8]]), [30, 20, -10]
    )
    path = write_ct(tmp_path / "a.nii.gz", seed=3, affine=oblique)
    intake(store, [path])

    summary = annotate(store)

    (stored, *_), grid = first_masks(store, summary.committee_id)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(store.objects.read(stored.object)))
    corner = np.array([start for start, _ in nested_box(stored.box)] + [1])
    np.testing.assert_allclose(grid.affine_matrix @ corner, image.affine[:, 3], atol=1e-4)
    np.testing.assert_array_equal(grid.affine_matrix, nibabel.load(path).affine)
    full = decode_mask(store.objects.read(stored.object), nested_box(stored.box), grid)
    assert full.shape == grid.ras_shape
    assert full.sum() == stored.voxels


def first_masks(store, committee_id):
    with store.read() as connection:
        ((_, prediction_id),) = closed_predictions(connection, committee_id).items()
        row = connection.execute("SELECT manifest FROM predictions").fetchone()
        grid = Grid.from_json(json.loads(store.objects.read(row[0]))["grid"])
        for structure in ("liver", "spleen", "kidney_right", "liver_tumor"):
            if masks := masks_of(connection, prediction_id, structure):
                return masks, grid
    raise AssertionError("the random committee drew nothing at all")


def test_vanished_and_changed_files_fail_alone(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 3)
    (tmp_path / "cts" / "0.nii.gz").unlink()
    write_ct(tmp_path / "cts" / "1.nii.gz", seed=77)

    summary = annotate(store)

    assert [case.reason for case in summary.failed] == [Reason.MISSING_FILE, Reason.CHANGED_FILE]
    assert len(summary.closed) == 1
    assert len(status(store).failures) == 2


def test_failed_case_waits_for_retry(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 1)
    (tmp_path / "cts" / "0.nii.gz").rename(tmp_path / "away.nii.gz")
    annotate(store)
    (tmp_path / "away.nii.gz").rename(tmp_path / "cts" / "0.nii.gz")

    assert annotate(store).closed == ()
    assert len(annotate(store, Selection(retry_failed=True)).closed) == 1
    assert status(store).failures == ()


def test_moved_file_is_found_after_a_new_intake(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 1)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "cts" / "0.nii.gz", tmp_path / "elsewhere" / "0.nii.gz")
    intake(store, [tmp_path / "elsewhere"])

    assert len(annotate(store).closed) == 1


def test_one_member_is_no_committee(empty_store):
    with pytest.raises(ConfigError, match="two or more members"):
        annotate(empty_store)


def test_unregistered_weights_are_named(store):
    with store.workspace.settings_path.open("a") as file:
        file.write('[[committee]]\nname = "x"\nfamily = "f"\nweights = "gone"\n')

    with pytest.raises(ConfigError, match="'gone', which are not registered"):
        annotate(Store.open(store.workspace.root))


def test_rebuild_gives_equal_views(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 2)
    annotate(store)
    triage(store)
    before = {name: view(store, name) for name in VIEWS}
    store.workspace.database_path.unlink()

    rebuild(store)

    assert {name: view(store, name) for name in VIEWS} == before
    assert before["current_queue"], "random members disagree, so something is queued"


def test_same_members_and_cases_give_the_same_objects(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 2)
    twin = copy_of(store, tmp_path / "twin")

    annotate(store)
    annotate(twin)

    assert objects_of(store) == objects_of(twin)
    assert score_values(store) == score_values(twin)


def test_queue_does_not_depend_on_the_order_in_which_cases_were_closed(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 4)
    twin = copy_of(store, tmp_path / "twin")
    cases = [case_id for (case_id,) in view_of(store, "SELECT case_id FROM cases ORDER BY 1")]

    for case_id in cases:
        annotate(store, Selection(case_ids=(case_id,)))
    for case_id in reversed(cases):
        annotate(twin, Selection(case_ids=(case_id,)))
    triage(store)
    triage(twin)

    assert objects_of(store) == objects_of(twin)


@pytest.mark.slow
def test_killed_runs_end_like_an_undisturbed_one(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 6)
    disturbed = copy_of(store, tmp_path / "disturbed")
    annotate(store)
    triage(store)
    delays = random.Random(5)

    unfinished = []
    for _ in range(5):
        kill_annotate_after(disturbed, delays.uniform(0.0, 1.2))
        unfinished.append(status(disturbed).unfinished)
    finish(disturbed)

    assert unfinished[0] > 0, "the first kill came too late to matter"
    assert objects_of(disturbed) == objects_of(store)
    assert score_values(disturbed) == score_values(store)
    with disturbed.read() as connection:
        lines = connection.execute("SELECT count(*), count(DISTINCT case_id) FROM predictions")
        assert lines.fetchone() == (6, 6)
    assert verify(disturbed).findings == ()


def test_case_that_a_living_run_computes_is_left_to_it(store, write_ct, tmp_path, monkeypatch):
    take_in(store, write_ct, tmp_path / "cts", 3)
    began, may_end, summaries = threading.Event(), threading.Event(), []
    compute = CaseStages.predict

    def compute_when_told(run, case):
        began.set()
        assert may_end.wait(60)
        return compute(run, case)

    monkeypatch.setattr(CaseStages, "predict", compute_when_told)
    first = threading.Thread(target=lambda: summaries.append(annotate(store)))
    first.start()
    assert began.wait(60)
    wait_until(lambda: len(view(store, "case_leases")) == 2)
    monkeypatch.setattr(CaseStages, "predict", compute)
    second = annotate(store)
    may_end.set()
    first.join()

    # The case that the first run computes, and the one that it has read ahead.
    assert len(second.held_elsewhere) == 2
    assert len(second.closed) == 1
    assert summaries[0].closed == second.held_elsewhere
    assert summaries[0].closed_elsewhere == second.closed


def test_status_says_what_runs_how_fast_and_how_long_it_takes(
    store, write_ct, tmp_path, monkeypatch
):
    take_in(store, write_ct, tmp_path / "cts", 4)
    began, may_end = threading.Event(), threading.Event()
    predict, calls = CaseStages.predict, []

    def stop_at_the_fourth(stages, opened):
        calls.append(opened.case.case_id)
        if len(calls) == 4:
            began.set()
            assert may_end.wait(60)
        return predict(stages, opened)

    monkeypatch.setattr(CaseStages, "predict", stop_at_the_fourth)
    run = threading.Thread(target=lambda: annotate(store))
    run.start()
    assert began.wait(60)
    wait_until(lambda: status(store).unfinished == 1)
    busy = status(store)
    may_end.set()
    run.join()
    idle = status(store)

    assert [len(cases) for cases in busy.running.values()] == [1]
    assert busy.annotated == 3
    closings = [
        row[0] for row in view_of(store, "SELECT recorded_at FROM predictions ORDER BY ALL")
    ]
    rate = 2 / (closings[2] - closings[0]).total_seconds()
    assert busy.cases_per_hour == pytest.approx(3600 * rate)
    assert busy.seconds_left == pytest.approx(1 / rate)
    assert (idle.running, idle.cases_per_hour, idle.seconds_left) == ({}, None, None)


def test_only_the_cases_that_are_named_are_annotated(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 3)
    wanted = [case_id for (case_id,) in view_of(store, "SELECT case_id FROM cases")][1:]

    summary = annotate(store, Selection(case_ids=tuple(wanted)))

    assert sorted(summary.closed) == sorted(wanted)
    with pytest.raises(UsageError, match="c-unknown is none"):
        annotate(store, Selection(case_ids=("c-unknown",)))


def test_long_case_keeps_its_lease(store, write_ct, tmp_path, monkeypatch):
    take_in(store, write_ct, tmp_path / "cts", 1)
    monkeypatch.setattr("flows.case_leases.RENEW_EVERY_S", 0.01)
    compute, expiries = CaseStages.predict, []

    def compute_until_prolonged(run, case):
        deadline = time.monotonic() + 60
        while len(set(expiries)) < 2 and time.monotonic() < deadline:
            expiries.append(view(store, "case_leases")[0][3])
        return compute(run, case)

    monkeypatch.setattr(CaseStages, "predict", compute_until_prolonged)

    assert len(annotate(store).closed) == 1
    assert len(set(expiries)) == 2
    assert view(store, "case_leases") == []


def test_failed_case_gives_its_lease_back(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 1)
    (tmp_path / "cts" / "0.nii.gz").unlink()

    with annotation_run(store) as run:
        assert len(run.annotate([case.case_id for case in run.cases]).failed) == 1
        assert view(store, "case_leases") == []


@pytest.mark.slow
def test_two_processes_side_by_side_compute_no_case_twice(store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / "cts", 10)
    code = """
        import sys
        from pathlib import Path
        import torch
        from flows.annotate import annotate
        from storage.store import Store
        torch.set_num_threads(1)
        store = Store.open(Path(sys.argv[1]))
        print("ready", flush=True)
        sys.stdin.readline()
        annotate(store)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), store.workspace.root]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(command, text=True, **pipes) as one,
        subprocess.Popen(command, text=True, **pipes) as other,
    ):
        for process in (one, other):
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.stdin.write("go\n")
            process.stdin.flush()
    assert (one.returncode, other.returncode) == (0, 0)

    computed = [logged_cases(path) for path in sorted(store.workspace.runs_path.glob("r-*.jsonl"))]
    computed = [cases for cases in computed if cases is not None]
    assert len(computed) == 2
    assert sorted(computed[0] + computed[1]) == sorted(closed_lines(store))
    assert verify(store).findings == ()
    assert list(store.workspace.runs_path.glob("*.lock")) == []


def logged_cases(path):
    """The cases that a run's log says it annotated; None for the log of another verb."""
    lines = [json.loads(line)["message"] for line in path.read_text().splitlines()]
    if lines[0] != "annotate started":
        return None
    return [line.split()[0] for line in lines if " annotated in " in line]


def closed_lines(store):
    with store.read() as connection:
        rows = connection.execute("SELECT case_id FROM predictions").fetchall()
    return [row[0] for row in rows]


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.01)


def copy_of(store, root):
    shutil.copytree(store.workspace.root, root)
    return Store.open(root)


def kill_annotate_after(store, delay_s):
    """Start annotate, wait until it has begun its cases, and kill it some time later."""
    before = run_count(store)
    process = start_annotate(store)
    deadline = time.monotonic() + 120
    while run_count(store) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()


def run_count(store):
    return store.journal.path.read_bytes().count(b'"run.started"')


def finish(store):
    assert start_annotate(store).wait(timeout=200) == 0


def start_annotate(store):
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "annotate", "-w", str(store.workspace.root)],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_cases_are_named_on_the_command_line_or_in_a_file(store, write_ct, tmp_path, monkeypatch):
    take_in(store, write_ct, tmp_path / "cts", 3)
    one, two, _ = [case_id for (case_id,) in view_of(store, "SELECT case_id FROM cases ORDER BY 1")]
    listed = tmp_path / "ids of today.txt"
    listed.write_text(f"{two}\n")
    root = str(store.workspace.root)

    def call(*arguments):
        return CliRunner().invoke(app, ["annotate", "-w", root, *arguments])

    done = call("--cases", one, "--cases", str(listed), "--report", str(tmp_path / "r.json"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    refused = call("--workers", "2")

    assert done.exit_code == 0, done.output
    assert sorted(json.loads((tmp_path / "r.json").read_text())["closed"]) == [one, two]
    assert refused.exit_code == 2
    assert "workers of a pool" in " ".join(refused.stderr.split())
