import pytest
from typer.testing import CliRunner

from configs.errors import UsageError
from flows.annotate import annotate
from flows.case_selection import Selection, named_cases, passed_over
from flows.cli import app
from flows.intake import intake


@pytest.fixture
def two_cases(store, write_ct, tmp_path):
    """A case that is closed, and one that failed."""
    for seed in range(2):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    lost, kept = (file.case_id for file in intake(store, [tmp_path / "cts"]).taken)
    (tmp_path / "cts" / "0.nii.gz").unlink()
    annotate(store)
    return kept, lost


def test_ids_are_given_one_by_one_and_in_files_and_count_once(tmp_path):
    listed = tmp_path / "ids of today.txt"
    listed.write_bytes("\ufeffc-2\r\nc-3\n\n".encode())

    assert named_cases(["c-1", str(listed), "c-3"]) == ("c-1", "c-2", "c-3")


def test_file_that_is_no_text_is_named_with_the_remedy(tmp_path):
    (tmp_path / "ids.txt").write_bytes(b"c-1\n\xff\xfe")

    with pytest.raises(UsageError, match=r"ids\.txt is none \(byte 4 is not UTF-8\), save it as"):
        named_cases([str(tmp_path / "ids.txt")])


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.mkdir(), "is a folder, name a file in it"),
        (lambda path: path.write_text(" \n"), "lists none, leave out --cases"),
    ],
)
def test_file_that_names_no_case_is_wrong_use(tmp_path, make, what):
    make(tmp_path / "ids")

    with pytest.raises(UsageError, match=f"id a line; .*ids {what}"):
        named_cases([str(tmp_path / "ids")])


def test_file_that_may_not_be_read_is_wrong_use(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "ids.txt").write_text("c-1")
    # A superuser, as in many containers, may read everything.
    monkeypatch.setattr("pathlib.Path.read_text", refuse)

    with pytest.raises(UsageError, match=r"ids\.txt cannot be read \(Permission denied\)"):
        named_cases([str(tmp_path / "ids.txt")])


def test_name_that_is_too_long_for_a_file_is_wrong_use_and_shortened(store):
    result = CliRunner().invoke(
        app, ["annotate", "-w", str(store.workspace.root), "--cases", "c" * 5000]
    )

    said = " ".join(result.stderr.split())
    assert result.exit_code == 2
    assert "--cases takes an id, or a UTF-8 text file" in said
    assert "(5000 characters) cannot be read (File name too long), name one that can" in said
    assert len(said) < 500


def test_many_unknown_ids_are_counted(store):
    unknown = tuple(f"c-{number}" for number in range(7))

    with pytest.raises(UsageError, match=r"c-0, c-1, c-2, c-3, c-4 and 2 more are none of"):
        passed_over(store, Selection(case_ids=unknown))


def test_named_cases_that_are_closed_or_failed_are_told(store, two_cases):
    closed, failed = two_cases

    assert passed_over(store, Selection(case_ids=two_cases)) == [
        f"closed by this committee already, left as they are: {closed}",
        f"failed before, left out without --retry-failed: {failed}",
    ]
    assert passed_over(store, Selection(case_ids=(failed,), retry_failed=True)) == []
    assert passed_over(store, Selection()) == []


def test_annotate_says_on_stderr_that_a_named_case_is_closed(store, two_cases):
    closed, _ = two_cases

    result = CliRunner().invoke(
        app, ["annotate", "-w", str(store.workspace.root), "--cases", closed, "--json"]
    )

    assert result.exit_code == 0
    assert f"left as they are: {closed}" in " ".join(result.stderr.split())
