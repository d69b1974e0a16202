import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from configs.errors import StorageError, UsageError
from storage.rebuild import rebuild
from storage.store import Store
from storage.verify import verify
from storage.workspace import create_workspace

RUN = {"verb": "test", "facts": {}}


@pytest.fixture
def store(tmp_path):
    create_workspace(tmp_path / "a workspace")
    return Store.open(tmp_path / "a workspace")


def record_runs(store, count):
    for number in range(count):
        with store.transaction() as transaction:
            transaction.record("run.started", {**RUN, "run_id": f"r-{number}"})


def run_ids(store):
    with store.read() as connection:
        return [
            row[0] for row in connection.execute("SELECT run_id FROM runs ORDER BY seq").fetchall()
        ]


def test_folder_without_settings_is_no_workspace(tmp_path):
    with pytest.raises(UsageError, match="atlasloop init"):
        Store.open(tmp_path)


def test_recorded_fact_is_read_back(store):
    record_runs(store, 2)

    assert run_ids(store) == ["r-0", "r-1"]


def test_stamp_changes_with_every_write_and_with_no_read(store):
    run_ids(store)
    stamps = [store.stamp()]

    for number in range(3):
        record_runs(store, 1) if number != 1 else write_to_the_index_alone(store)
        stamps.append(store.stamp())
        run_ids(store)
        assert store.stamp() == stamps[-1]

    assert len(set(stamps)) == 4


def write_to_the_index_alone(store):
    with store.transaction() as transaction:
        transaction.connection.execute("CREATE TABLE beside_the_journal (number INTEGER)")


def test_stamp_sees_what_a_killed_writer_left_in_the_database_s_log(store):
    before = store.stamp()
    script = f"""
        import os, pathlib
        from storage.store import Store
        with Store.open(pathlib.Path({str(store.workspace.root)!r})).transaction() as one:
            one.connection.execute("CREATE TABLE beside_the_journal (number INTEGER)")
            one.connection.execute("COMMIT")
            os._exit(9)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)]).returncode == 9

    assert store.stamp() != before


def test_read_inside_transaction_is_refused(store):
    with store.transaction(), pytest.raises(StorageError, match="never nest"), store.read():
        pass


def test_read_inside_read_of_another_store_object_is_refused(store):
    with store.read(), pytest.raises(StorageError, match="never nest"):
        run_ids(Store.open(store.workspace.root))


def test_busy_workspace_is_a_clear_error(store, tmp_path):
    code = """
        import sys, time
        from pathlib import Path
        from storage.store import Store
        with Store.open(Path(sys.argv[1])).read():
            print("held", flush=True)
            time.sleep(60)
    """
    holder = start_python(code, store.workspace.root)
    try:
        assert holder.stdout.readline().strip() == "held"
        quick = store.settings.model_copy(
            update={"storage": store.settings.storage.model_copy(update={"lock_timeout_s": 0.2})}
        )

        with pytest.raises(StorageError, match="another process has kept the workspace"):
            run_ids(Store.open(store.workspace.root, quick))
    finally:
        stop(holder)


def test_lock_of_a_killed_process_is_free(store):
    code = """
        import sys, time
        from pathlib import Path
        from storage.store import Store
        with Store.open(Path(sys.argv[1])).transaction() as transaction:
            transaction.record("run.started", {"verb": "test", "facts": {}, "run_id": "r-killed"})
            print("recorded", flush=True)
            time.sleep(60)
    """
    holder = start_python(code, store.workspace.root)
    assert holder.stdout.readline().strip() == "recorded"
    stop(holder)

    assert run_ids(store) == ["r-killed"]


def test_journal_line_stands_when_the_block_fails_afterwards(store):
    with pytest.raises(RuntimeError, match="after the commit point"):
        record_and_fail(store)

    assert run_ids(store) == ["r-kept"]


def record_and_fail(store):
    with store.transaction() as transaction:
        transaction.record("run.started", {**RUN, "run_id": "r-kept"})
        raise RuntimeError("after the commit point")


def test_deleted_database_comes_back_from_the_journal(store):
    record_runs(store, 3)
    before = run_ids(store)
    store.workspace.database_path.unlink()

    assert run_ids(store) == before


def test_rebuild_gives_equal_tables(store):
    record_runs(store, 3)

    assert rebuild(store) == 3
    assert run_ids(store) == ["r-0", "r-1", "r-2"]
    assert verify(store).findings == ()


def test_torn_journal_line_is_moved_aside_and_the_rest_stands(store):
    record_runs(store, 2)
    with store.journal.path.open("ab") as file:
        file.write(b'{"at":"20')

    assert run_ids(store) == ["r-0", "r-1"]
    assert len(list(store.workspace.root.glob("journal.torn-*"))) == 1
    record_runs(store, 1)
    assert verify(store).findings == ()


def test_cut_journal_stops_every_command(store):
    record_runs(store, 3)
    lines = store.journal.path.read_bytes().splitlines(keepends=True)
    store.journal.path.write_bytes(b"".join(lines[:2]))

    with pytest.raises(StorageError, match="cut or altered at or before line 3"):
        run_ids(store)
    assert "line 3" in verify(store).findings[0].fault


def test_altered_journal_line_is_named_by_verify(store):
    record_runs(store, 3)
    text = store.journal.path.read_text()
    store.journal.path.write_text(text.replace('"run_id":"r-1"', '"run_id":"r-9"'))

    assert "line 3" in verify(store).findings[0].fault


def test_altered_last_line_of_equal_length_is_found(store):
    record_runs(store, 2)
    text = store.journal.path.read_text()
    store.journal.path.write_text(text.replace('"run_id":"r-1"', '"run_id":"r-9"'))

    assert "line 2" in verify(store).findings[0].fault


def test_row_that_the_journal_does_not_know_is_found(store):
    record_runs(store, 1)
    with store.read() as connection:
        connection.execute(
            "INSERT INTO runs SELECT 'r-false', verb, facts, seq, recorded_at FROM runs"
        )

    assert verify(store).findings[0].place == "database table runs"


def test_newer_schema_is_refused(store):
    with store.read() as connection:
        connection.execute("INSERT INTO schema_version VALUES (999)")

    with pytest.raises(StorageError, match="schema 999"):
        run_ids(store)


def test_unknown_journal_line_is_refused(store):
    with pytest.raises(StorageError, match="does not know"), store.transaction() as transaction:
        transaction.record("future.kind", {})


def test_damaged_database_asks_for_rebuild(store):
    record_runs(store, 2)
    store.workspace.database_path.write_bytes(b"not a database" * 1000)

    with pytest.raises(StorageError, match="atlasloop rebuild"):
        run_ids(store)
    rebuild(store)
    assert run_ids(store) == ["r-0", "r-1"]


def test_parallel_writers_lose_nothing(store):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        pool.starmap(_write_many, [(str(store.workspace.root), name) for name in "abc"])

    assert sorted(run_ids(store)) == sorted(f"r-{name}{n}" for name in "abc" for n in range(5))
    assert verify(store).findings == ()


def _write_many(root, name):
    store = Store.open(Path(root))
    for number in range(5):
        with store.transaction() as transaction:
            transaction.record("run.started", {**RUN, "run_id": f"r-{name}{number}"})


def start_python(code, root):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(root)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def stop(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
