import subprocess
import sys
import textwrap

from storage.process_lock import is_held, process_lock

HOLDER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from storage.process_lock import process_lock
    with process_lock(Path(sys.argv[1]), "mine"):
        print("held", flush=True)
        time.sleep(120)
    """
)


def test_lock_is_held_inside_the_block_alone(tmp_path):
    path = tmp_path / "deep" / "a.lock"

    with process_lock(path) as taken:
        assert taken
        assert is_held(path)

    assert not is_held(path)
    assert not path.exists()


def test_second_taker_is_told_and_changes_nothing(tmp_path):
    path = tmp_path / "a.lock"

    with process_lock(path, "the first"):
        with process_lock(path, "the second") as taken:
            assert not taken
        assert path.read_text() == "the first"
        assert is_held(path)


def test_lock_of_a_killed_process_is_free_though_its_file_stays(tmp_path):
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        held_before = is_held(path)
        holder.kill()

    assert held_before
    assert path.read_text() == "mine"
    assert not is_held(path)
    with process_lock(path) as taken:
        assert taken
