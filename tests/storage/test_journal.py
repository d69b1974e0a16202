import pytest

from configs.errors import StorageError
from storage.journal import GENESIS, Journal, Position


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


def write_lines(journal, count):
    position = Position()
    for number in range(count):
        position = journal.append(position, "note", {"number": number}).position
    return position


def test_first_line_continues_the_genesis_hash(journal):
    line = journal.append(Position(), "note", {"a": 1})

    assert line.seq == 1
    assert GENESIS in journal.path.read_text()


def test_lines_come_back_in_order(journal):
    write_lines(journal, 3)

    assert [line.data["number"] for line in journal.lines()] == [0, 1, 2]


def test_reader_continues_behind_a_position(journal):
    position = write_lines(journal, 2)
    journal.append(position, "note", {"number": 9})

    assert [line.data["number"] for line in journal.lines(position)] == [9]


def test_append_refuses_a_stale_position(journal):
    write_lines(journal, 1)

    with pytest.raises(StorageError, match="reader stands at 0"):
        journal.append(Position(), "note", {})


def test_altered_line_is_named(journal):
    write_lines(journal, 3)
    text = journal.path.read_text().replace('"number":1', '"number":7')
    journal.path.write_text(text)

    with pytest.raises(StorageError, match=r"line 3 \(byte \d+\) does not continue line 2"):
        list(journal.lines())


def test_removed_line_is_named(journal):
    write_lines(journal, 3)
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text(lines[0] + lines[2])

    with pytest.raises(StorageError, match=r"line 2 \(byte \d+\)"):
        list(journal.lines())


def test_garbled_line_is_named(journal):
    write_lines(journal, 2)
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text("{not json\n" + lines[1])

    with pytest.raises(StorageError, match=r"line 1 \(byte 0\) was altered"):
        list(journal.lines())


def test_altered_last_line_is_seen_by_who_read_it(journal):
    position = write_lines(journal, 2)
    text = journal.path.read_text().replace('"number":1', '"number":8')
    journal.path.write_text(text)

    assert not journal.holds(position)


def test_untouched_journal_holds_every_position(journal):
    write_lines(journal, 3)

    assert all(journal.holds(line.position) for line in journal.lines())


def test_reader_names_the_cut(journal):
    position = write_lines(journal, 3)
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text("".join(lines[:2]))

    with pytest.raises(StorageError, match="journal was cut"):
        list(journal.lines(position))


@pytest.mark.parametrize("kept_bytes", [1, 40, 100])
def test_torn_last_line_is_moved_aside(journal, kept_bytes):
    position = write_lines(journal, 2)
    whole = journal.path.read_bytes()
    torn = b'{"at":"2026-01-01T00:00:00Z","data":{},"kind":"note","prev":"0000000000000000"' * 2
    journal.path.write_bytes(whole + torn[:kept_bytes])

    aside = journal.set_torn_line_aside()

    assert aside is not None
    assert aside.read_bytes() == torn[:kept_bytes]
    assert journal.path.read_bytes() == whole
    journal.append(position, "note", {"number": 2})
    assert len(list(journal.lines())) == 3


def test_clean_journal_has_no_torn_line(journal):
    write_lines(journal, 1)

    assert journal.set_torn_line_aside() is None


def test_failed_write_leaves_the_journal_as_it_was(journal, monkeypatch):
    position = write_lines(journal, 1)
    before = journal.path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space")))

    with pytest.raises(StorageError, match="no space"):
        journal.append(position, "note", {})

    assert journal.path.read_bytes() == before
