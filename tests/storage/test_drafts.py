"""Drafts outlive kills and rebuilds, and end with the verdict."""

import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import storage
from configs.errors import StorageError, UsageError
from storage.drafts import DraftKey, Drafts
from storage.edited_mask import EditedMask
from storage.rebuild import rebuild

NOW = datetime(2026, 1, 5, 12, 0)
KEY = DraftKey("anna", "c-1", "liver", "v-1")
BOX = ((3, 16), (0, 7), (40, 45))


def drawn(seed=0):
    return EditedMask(np.random.default_rng(seed).random((13, 7, 5)) > 0.5, BOX)


def test_a_draft_comes_back_as_it_was(tmp_path):
    drafts = Drafts(tmp_path / "drafts")
    drafts.put(KEY, drawn(0), now=NOW)
    drafts.put(KEY, drawn(1), now=NOW.replace(hour=13))

    found = drafts.get(KEY)

    assert found.key == KEY
    assert found.saved_at == NOW.replace(hour=13)
    assert found.edited.box_ras == BOX
    np.testing.assert_array_equal(found.edited.mask_ras, drawn(1).mask_ras)


@pytest.mark.parametrize(
    "other",
    [
        DraftKey("bert", "c-1", "liver", "v-1"),
        DraftKey("anna", "c-2", "liver", "v-1"),
        DraftKey("anna", "c-1", "spleen", "v-1"),
        DraftKey("anna", "c-1", "liver", "v-2"),
    ],
)
def test_another_reader_item_or_version_has_another_draft(tmp_path, other):
    drafts = Drafts(tmp_path)
    drafts.put(KEY, drawn(), now=NOW)

    assert drafts.get(other) is None
    drafts.drop(other)
    assert drafts.get(KEY) is not None


def test_an_item_s_drafts_of_all_versions_are_found_newest_first(tmp_path):
    drafts = Drafts(tmp_path)
    for hour, version in ((9, "v-1"), (11, "v-3"), (10, "v-2")):
        drafts.put(DraftKey("anna", "c-1", "liver", version), drawn(), now=NOW.replace(hour=hour))
    item = {"reader": "anna", "case_id": "c-1", "structure": "liver"}

    assert [one.key.base_version for one in drafts.of_item(**item)] == ["v-3", "v-2", "v-1"]
    drafts.drop_item(**item)
    assert drafts.of_item(**item) == []


def test_a_candidate_is_not_changed_by_later_strokes_and_ends_with_the_draft(tmp_path):
    drafts = Drafts(tmp_path)
    drafts.put_candidate(KEY, drawn(1), receipt="r" * 16, now=NOW)
    drafts.put(KEY, drawn(2), now=NOW)

    np.testing.assert_array_equal(
        drafts.candidate(KEY, "r" * 16).edited.mask_ras, drawn(1).mask_ras
    )
    assert drafts.candidate(KEY, "s" * 16) is None
    drafts.drop(KEY)
    assert drafts.candidate(KEY, "r" * 16) is None
    assert drafts.get(KEY) is None


@pytest.mark.parametrize("receipt", ["../../../etc/passwd", "short", "r" * 65, "*" * 20])
def test_a_receipt_cannot_name_another_file(tmp_path, receipt):
    with pytest.raises(UsageError, match="a receipt is"):
        Drafts(tmp_path).candidate(KEY, receipt)


@pytest.mark.parametrize("at", [2, 10, 60, -3])
def test_an_altered_draft_is_an_error_and_no_mask(tmp_path, at):
    drafts = Drafts(tmp_path)
    drafts.put(KEY, drawn(), now=NOW)
    (path,) = tmp_path.glob("*/*.draft")
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)

    with pytest.raises(StorageError, match="must be whole"):
        drafts.get(KEY)


def test_the_drafts_of_a_reader_are_bounded_and_the_newest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("storage.drafts._MOST_OF_READER", 3)
    drafts = Drafts(tmp_path)
    small = EditedMask(np.ones((1, 1, 1), bool), ((0, 1), (0, 1), (0, 1)))
    keys = [DraftKey("anna", f"c-{number}", "liver", "v-1") for number in range(5)]
    for number, key in enumerate(keys):
        drafts.put(key, small, now=NOW)
        (path,) = tmp_path.glob(f"*/{key.stem}.draft")
        os.utime(path, (number, number))

    assert [drafts.get(key) is not None for key in keys] == [False, False, True, True, True]


def test_rebuild_keeps_drafts(make_annotated):
    store = make_annotated().store
    drafts = Drafts(store.workspace.drafts_path)
    drafts.put(KEY, drawn(), now=NOW)

    store.workspace.database_path.unlink()
    rebuild(store)

    np.testing.assert_array_equal(drafts.get(KEY).edited.mask_ras, drawn().mask_ras)


WRITER = """
import sys
from datetime import datetime
from pathlib import Path
import numpy as np
from storage.drafts import DraftKey, Drafts
from storage.edited_mask import EditedMask
drafts, number = Drafts(Path(sys.argv[1])), 0
while True:
    mask = np.full((60, 50, 40), bool(number % 2))
    mask.flat[:number] = not number % 2
    edited = EditedMask(mask, ((0, 60), (0, 50), (0, 40)))
    drafts.put(DraftKey("anna", "c-1", "liver", "v-1"), edited, now=datetime(2026, 1, 5))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_writer_that_is_killed_leaves_what_it_acknowledged_or_something_newer(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(storage.__file__).parents[1])}
    for wait_s in (0.05, 0.15):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        child.stdout.readline()
        time.sleep(wait_s)
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = [int(line) for line in child.stdout.read().split()] or [0]
        child.wait()
        child.stdout.close()

        mask = Drafts(tmp_path).get(KEY).edited.mask_ras
        number = int(np.argmin(mask.ravel() == mask.flat[0])) if mask.any() != mask.all() else 0
        assert number in (acknowledged[-1], acknowledged[-1] + 1)
