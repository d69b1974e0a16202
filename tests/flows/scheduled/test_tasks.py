import pytest

from configs.errors import SchedulerError
from flows.annotate import annotation_run

PATIENT = "Doe^Jane"


@pytest.fixture
def tasks(scheduled):
    return scheduled("tasks")


@pytest.fixture
def outcome(scheduled):
    return scheduled("states").outcome


def test_chunk_with_a_failed_case_is_failed_and_names_no_file(
    tasks, outcome, store, take_in, tmp_path
):
    take_in(tmp_path / PATIENT, range(2))
    (tmp_path / PATIENT / "0.nii.gz").unlink()

    with annotation_run(store) as run:
        state = tasks.annotate_chunk.fn(run, case_ids(run))

    assert state.is_failed()
    assert "(missing_file)" in state.message
    assert PATIENT not in state.message + str(state.result(raise_on_failure=False))
    assert len(outcome(state).closed) == 1


def test_chunk_tried_again_closes_what_failed_and_nothing_twice(
    tasks, outcome, store, take_in, lines_of, tmp_path
):
    take_in(tmp_path / "cts", range(2))
    (tmp_path / "cts" / "0.nii.gz").rename(tmp_path / "away.nii.gz")

    with annotation_run(store) as run:
        tasks.annotate_chunk.fn(run, case_ids(run))
        (tmp_path / "away.nii.gz").rename(tmp_path / "cts" / "0.nii.gz")
        state = tasks.annotate_chunk.fn(run, case_ids(run))

    assert state.is_completed()
    assert len(outcome(state).closed) == 2
    assert len(lines_of(store, "case.annotated")) == 2


def test_fault_of_ours_reaches_prefect_without_its_words(
    tasks, store, take_in, tmp_path, monkeypatch
):
    take_in(tmp_path / "cts", range(1))

    def break_down(*_):
        raise KeyError(PATIENT)

    monkeypatch.setattr("flows.annotate.AnnotationRun.annotate", break_down)
    with annotation_run(store) as run, pytest.raises(SchedulerError) as caught:
        tasks.annotate_chunk.fn(run, case_ids(run))

    assert "KeyError" in str(caught.value)
    assert PATIENT not in str(caught.value)


def case_ids(run):
    return [case.case_id for case in run.cases]
