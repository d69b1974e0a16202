"""Watched folders: what is read, what is left alone, and what is never read twice."""

import json
import os
import shutil
import time
from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner

from configs.errors import ConfigError, Reason
from flows import cli
from flows import watch as module
from flows.intake import intake
from flows.status import status
from flows.watch import look, watch
from storage.cases import Registration
from storage.rebuild import rebuild
from storage.store import Store
from storage.verify import verify


@pytest.fixture
def run_command(monkeypatch):
    def run(*arguments, environment=None):
        monkeypatch.delenv("ATLASLOOP_WORKSPACE", raising=False)
        return CliRunner().invoke(cli.app, [str(word) for word in arguments], env=environment)

    return run


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "in box"
    folder.mkdir()
    return folder


@pytest.fixture
def watching(empty_store, inbox):
    """A workspace that watches two folders, one of them missing, and lets files settle for 60 s."""
    return watch_folders(empty_store, str(inbox), "not there")


def watch_folders(store, *folders):
    listed = ", ".join(f'"{folder}"' for folder in folders)
    with store.workspace.settings_path.open("a") as file:
        file.write(f"[schedule]\nwatch = [{listed}]\nsettle_s = 60\nchunk_size = 2\n")
    return Store.open(store.workspace.root)


def pass_time(monkeypatch, *, seconds):
    now = module._now()
    monkeypatch.setattr(module, "_now", lambda: now + timedelta(seconds=seconds))


def reads(monkeypatch):
    """The paths that intake reads from now on."""
    read = []
    whole = module.Intake.take_in

    def noted(self, found, **options):
        read.extend(found.images)
        return whole(self, found, **options)

    monkeypatch.setattr(module.Intake, "take_in", noted)
    return read


def test_new_files_are_taken_in_once_they_are_at_rest(watching, inbox, write_ct, monkeypatch):
    for seed in range(3):
        write_ct(inbox / f"{seed}.nii.gz", seed=seed)

    early = watch(watching)
    pass_time(monkeypatch, seconds=61)
    late = watch(watching)

    assert (early.run_id, len(early.look.moving)) == (None, 3)
    assert late.counts == {Registration.NEW: 3}
    assert late.sentence() == "3 new; of 2 watched folders away or emptied: 2"
    assert verify(watching).findings == ()


def test_known_files_are_never_read_again_nor_noted_in_the_journal(
    watching, inbox, write_ct, monkeypatch
):
    write_ct(inbox / "good.nii.gz", seed=0)
    (inbox / "bad.nii.gz").write_text("no image")
    shutil.copy(inbox / "good.nii.gz", inbox / "twice.nii.gz")
    pass_time(monkeypatch, seconds=61)
    first = watch(watching)
    lines = watching.journal.path.read_text()

    read = reads(monkeypatch)
    second = watch(watching)

    assert first.counts == {Registration.NEW: 1, Registration.DUPLICATE: 1}
    assert [reason for _, reason in first.refused] == [Reason.NOT_AN_IMAGE]
    assert read == []
    assert second.look.known == 3
    assert second.sentence().startswith("nothing new")
    assert watching.journal.path.read_text() == lines


def test_what_intake_took_in_by_hand_is_known_and_so_it_is_after_a_rebuild(
    watching, inbox, write_ct, monkeypatch
):
    write_ct(inbox / "good.nii.gz", seed=0)
    (inbox / "bad.nii.gz").write_text("no image")
    time.sleep(0.02)
    intake(watching, [inbox])
    pass_time(monkeypatch, seconds=61)

    before = look(watching)
    rebuild(watching)
    after = look(watching)

    assert (before.known, after.known) == (2, 2)
    assert before.at_rest == after.at_rest == ()


def test_file_that_grows_is_left_alone_until_it_stops(watching, inbox, write_ct, monkeypatch):
    whole = write_ct(inbox.parent / "whole.nii.gz", seed=0).read_bytes()
    growing = inbox / "growing.nii.gz"
    for share in (0.3, 0.7):
        growing.write_bytes(whole[: int(share * len(whole))])
        assert len(watch(watching).look.moving) == 1

    growing.write_bytes(whole)
    pass_time(monkeypatch, seconds=61)

    assert watch(watching).counts == {Registration.NEW: 1}
    assert status(watching).quarantined == ()


def test_file_dated_ahead_is_judged_by_two_looks(watching, inbox, write_ct, monkeypatch):
    path = write_ct(inbox / "a.nii.gz", seed=0)
    os.utime(path, (time.time() + 86400,) * 2)

    looks = [len(look(watching).at_rest)]
    for _ in range(2):
        pass_time(monkeypatch, seconds=31)
        looks.append(len(look(watching).at_rest))

    assert looks == [0, 0, 1]


def test_file_that_changes_while_it_is_read_is_neither_case_nor_quarantined(
    watching, inbox, write_ct, monkeypatch
):
    write_ct(inbox / "a.nii.gz", seed=0)
    (inbox / "b.nii.gz").write_text("no image")
    pass_time(monkeypatch, seconds=61)
    monkeypatch.setattr("storage.watched_files.Sighting.still_holds", lambda self: False)

    summary = watch(watching)

    assert (summary.counts, summary.refused, summary.unsettled) == ({}, (), 2)
    assert status(watching).cases == 0
    assert status(watching).quarantined == ()


def test_after_a_rebuild_a_file_that_was_replaced_is_read_again(
    watching, inbox, write_ct, monkeypatch
):
    """Another size, and the same size at a later time; the third was left alone."""
    paths = [write_ct(inbox / f"{name}.nii.gz", seed=name) for name in range(3)]
    intake(watching, [inbox])
    rebuild(watching)
    paths[0].write_bytes(paths[0].read_bytes() + b"more")
    time.sleep(0.02)
    paths[1].write_bytes(paths[1].read_bytes())
    pass_time(monkeypatch, seconds=61)

    found = look(watching)

    assert sorted(sighting.path for sighting in found.at_rest) == sorted(paths[:2])
    assert found.known == 1


def test_bad_file_that_is_replaced_by_a_good_one_becomes_a_case(
    watching, inbox, write_ct, monkeypatch
):
    (inbox / "a.nii.gz").write_text("no image")
    pass_time(monkeypatch, seconds=61)
    watch(watching)
    write_ct(inbox / "a.nii.gz", seed=0)
    pass_time(monkeypatch, seconds=61)

    assert watch(watching).counts == {Registration.NEW: 1}


def test_file_that_could_not_be_read_is_tried_again_after_a_day(
    watching, inbox, write_ct, monkeypatch
):
    (inbox / "a.nii.gz").symlink_to(write_ct(inbox.parent / "hidden.nii.gz", seed=0))
    fault = module.CaseError(Reason.UNREADABLE, "the disk does not answer")
    pass_time(monkeypatch, seconds=61)

    def fail(*_, **_named):
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr("flows.intake.inspect_file", fail)
        assert [reason for _, reason in watch(watching).refused] == [Reason.UNREADABLE]
    soon = look(watching)
    rebuild(watching)
    soon_after_a_rebuild = look(watching)
    pass_time(monkeypatch, seconds=86401)

    assert soon.at_rest == soon_after_a_rebuild.at_rest == ()
    assert soon.known == soon_after_a_rebuild.known == 1
    assert watch(watching).counts == {Registration.NEW: 1}


def test_folder_that_comes_back_is_known(watching, inbox, write_ct, monkeypatch):
    write_ct(inbox / "a.nii.gz", seed=0)
    pass_time(monkeypatch, seconds=61)
    watch(watching)

    inbox.rename(inbox.parent / "unmounted")
    gone = look(watching)
    inbox.mkdir()
    emptied = look(watching)
    inbox.rmdir()
    (inbox.parent / "unmounted").rename(inbox)
    back = look(watching)

    assert gone.away == emptied.away == (1, 2)
    assert (back.away, back.known, back.at_rest) == ((2,), 1, ())


def test_folder_of_dicom_files_is_refused_once(watching, inbox, monkeypatch):
    (inbox / "series").mkdir()
    for number in range(3):
        (inbox / "series" / f"{number}.dcm").write_bytes(b"\0" * 128 + b"DICM")
    pass_time(monkeypatch, seconds=61)

    first, second = watch(watching), watch(watching)

    assert [reason for _, reason in first.refused] == [Reason.DICOM_UNSUPPORTED]
    assert (second.run_id, second.look.known) == (None, 1)


def test_folder_in_the_workspace_may_be_watched_and_the_workspace_itself_not(
    empty_store, write_ct, monkeypatch
):
    inner = watch_folders(empty_store, "new scans")
    write_ct(inner.workspace.root / "new scans" / "a.nii.gz", seed=0)
    pass_time(monkeypatch, seconds=61)

    assert watch(inner).counts == {Registration.NEW: 1}
    for wrong in (".", ".."):
        outer = Store.open(
            inner.workspace.root,
            inner.settings.model_copy(
                update={"schedule": inner.settings.schedule.model_copy(update={"watch": (wrong,)})}
            ),
        )
        with pytest.raises(ConfigError, match="neither is the workspace nor holds it"):
            watch(outer)


def test_name_that_is_not_utf8_stops_nothing(watching, inbox, write_ct, monkeypatch):
    write_ct(inbox / "good.nii.gz", seed=0)
    try:
        shutil.copy(inbox / "good.nii.gz", os.fsencode(inbox) + b"/\xff.nii.gz")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    pass_time(monkeypatch, seconds=61)

    assert watch(watching).counts == {Registration.NEW: 1}


def test_command_line_looks_once_and_takes_no_path_beside(watching, inbox, write_ct, run_command):
    for path in (write_ct(inbox / "a.nii.gz", seed=0), inbox / "bad.nii.gz"):
        path.touch()
    flags = ("--watched", "-w", watching.workspace.root)

    early = run_command("intake", *flags, "--json")
    with_path = run_command("intake", inbox, *flags)
    late = run_command("intake", *flags, environment={"ATLASLOOP_SCHEDULE__SETTLE_S": "0"})

    assert json.loads(early.stdout)["not_at_rest"] == 2
    assert (early.exit_code, with_path.exit_code, late.exit_code) == (0, 2, 3)
    assert late.stdout == "1 new; 1 quarantined; of 2 watched folders away or emptied: 2\n"


def test_nothing_that_is_written_down_names_a_file(watching, inbox, write_ct, monkeypatch):
    write_ct(inbox / "DOE_JOHN" / "a.nii.gz", seed=1)
    (inbox / "DOE_JOHN" / "bad.nii.gz").write_text("no image")
    pass_time(monkeypatch, seconds=61)

    summary = watch(watching)

    written = watching.journal.path.read_text() + summary.sentence() + str(summary.refused)
    for log in watching.workspace.runs_path.iterdir():
        written += log.read_text()
    assert "DOE_JOHN" not in written
    assert "bad.nii" not in written
    assert isinstance(module._now(), datetime)
