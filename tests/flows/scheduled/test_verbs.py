import pytest

from configs.errors import NothingToLearnError, UsageError
from flows.retrain import RetrainSummary
from flows.train_request import TrainOverrides, TrainRequest
from flows.watch import watch
from model.gate import GateDecision
from storage.model_registry import registered_models
from storage.store import Store


@pytest.fixture
def verbs(scheduled):
    return scheduled("verbs")


@pytest.fixture
def outcome(scheduled):
    return scheduled("states").outcome


def test_retraining_without_a_verdict_fails_with_our_own_words_where_it_was_asked_for(
    verbs, store, take_in, tmp_path, monkeypatch
):
    monkeypatch.setattr(verbs, "challenge", verbs.challenge.fn)
    take_in(tmp_path / "cts", range(1))

    with pytest.raises(NothingToLearnError):
        verbs.retrain.fn(store.workspace.root)


def test_scheduled_retraining_without_a_label_is_completed_and_freezes_no_role(
    verbs, store, take_in, lines_of, tmp_path
):
    take_in(tmp_path / "cts", range(1))

    state = verbs.retrain.fn(store.workspace.root, only_if_new=True)

    assert state.is_completed()
    assert state.message.startswith("nothing to learn")
    assert lines_of(store, "split.frozen") == []


def test_scheduled_retraining_without_a_label_to_train_on_is_completed(
    verbs, store, take_in, tmp_path, monkeypatch, judge_livers
):
    monkeypatch.setattr(verbs, "challenge", verbs.challenge.fn)
    monkeypatch.setattr("flows.retrain.stored_labels", lambda store: [])
    take_in(tmp_path / "cts", range(2))
    judge_livers(store)

    state = verbs.retrain.fn(store.workspace.root, only_if_new=True)

    assert state.message == "nothing to learn: no label is of a patient who trains"


def test_retraining_tells_what_the_gate_decided(verbs, outcome, store, monkeypatch):
    decision = GateDecision("promoted", rows=(), needed=None, reason="all hold")
    summary = RetrainSummary("g-1", decision, labels=3, gate_patients=9, members=("m0",))
    pages = []
    monkeypatch.setattr(verbs, "challenge", verbs.challenge.fn)
    monkeypatch.setattr("flows.retrain.retrain", lambda store, options: summary)
    monkeypatch.setattr(
        verbs, "create_markdown_artifact", lambda page, key: pages.append((key, page))
    )

    state = verbs.retrain.fn(store.workspace.root)

    assert state.message == "promoted"
    assert outcome(state) == summary
    assert pages == [("retrain", "Gate g-1: promoted, 3 labels, 9 gate patients")]


def test_second_look_takes_nothing_in_again_and_tells_what_is_away(
    verbs, store, write_ct, lines_of, monkeypatch
):
    monkeypatch.setenv("ATLASLOOP_SCHEDULE__WATCH", '["in box", "away"]')
    monkeypatch.setenv("ATLASLOOP_SCHEDULE__SETTLE_S", "0")
    write_ct(store.workspace.root / "in box" / "0.nii.gz", seed=0)
    (store.workspace.root / "in box" / "bad.nii.gz").write_text("no image")
    first = watch(Store.open(store.workspace.root))

    state = verbs.intake.fn(store.workspace.root)

    assert first.sentence() == "1 new; 1 quarantined; of 2 watched folders away or emptied: 2"
    assert state.is_completed()
    assert state.message == "nothing new; of 2 watched folders away or emptied: 2"
    assert len(lines_of(store, "file.quarantined")) == 1


def test_training_as_a_flow_registers_a_model_and_says_so(
    verbs, training_store, tiny_cohort, monkeypatch
):
    pages: list[tuple[str, str]] = []
    monkeypatch.setattr(
        verbs, "create_markdown_artifact", lambda page, key: pages.append((key, page))
    )
    preset = TrainOverrides(preset="small", steps=1)
    request = TrainRequest(folders=(tiny_cohort,), name="first", overrides=preset, device="cpu")

    state = verbs.train.fn(training_store.workspace.root, request=request)

    assert state.is_completed()
    assert list(registered_models(training_store)) == ["first"]
    ((key, page),) = pages
    assert key == "train"
    assert page.startswith("Model first: loss ")
    assert str(tiny_cohort) not in page


def test_training_flow_checks_what_it_is_asked_for(verbs, training_store):
    request = TrainRequest(resume="last", name="first")

    with pytest.raises(UsageError, match="leave out data, name"):
        verbs.train.fn(training_store.workspace.root, request=request)
