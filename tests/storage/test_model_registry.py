import json

import pytest

from configs.errors import ConflictError, StorageError, UsageError
from flows.init import init
from storage import model_registry
from storage.gates import Challenge, record_gate
from storage.model_card import card_markdown
from storage.model_registry import (
    amend_card,
    register_model,
    registered_model,
    registered_models,
)
from storage.rebuild import rebuild


@pytest.fixture
def store(tmp_path):
    return init(tmp_path / "w")


def card_of(store, name):
    return json.loads((store.workspace.models_path / f"{name}.json").read_text())


def test_a_kill_after_the_journal_line_leaves_no_old_card_behind(store, monkeypatch):
    register_model(store, "first", b"old", {"steps": 1})

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_registry, "write_cards", killed)
        with pytest.raises(KeyboardInterrupt):
            register_model(store, "first", b"new", {"steps": 2})
    assert card_of(store, "first")["steps"] == 1

    model = registered_models(store)["first"]

    assert (model.card, card_of(store, "first")["weights"]) == ({"steps": 2}, model.weights)
    assert card_of(store, "first")["steps"] == 2
    assert "steps: 2" in (store.workspace.models_path / "first.md").read_text()


def test_a_card_that_is_gone_or_was_changed_comes_back(store):
    register_model(store, "first", b"x", {"steps": 1})
    register_model(store, "second", b"y", {"steps": 7})
    (store.workspace.models_path / "first.json").unlink()
    (store.workspace.models_path / "second.md").write_text("# mine\n")

    registered_models(store)

    assert card_of(store, "first")["steps"] == 1
    assert "# second" in (store.workspace.models_path / "second.md").read_text()
    assert not list(store.workspace.models_path.glob(".*"))


def test_a_promotion_writes_the_challengers_card(store):
    champion = register_model(store, "first", b"old", {"steps": 1})
    digest = store.objects.put(b"new")
    challenge = Challenge("m", "first", champion.weights, digest, {"steps": 2})

    record_gate(store, [challenge], outcome="promoted", reason="better", evidence={})

    assert (card_of(store, "first")["steps"], card_of(store, "first")["weights"]) == (2, digest)


def test_an_amended_card_keeps_the_weights_and_survives_a_rebuild(store):
    model = register_model(store, "first", b"x", {"steps": 1, "note": "a"})

    amend_card(store, model, {"note": "b", "temperatures": {"liver": 2.0}})
    rebuild(store)

    amended = registered_model(store, "first")
    assert amended.weights == model.weights
    assert amended.card == {"steps": 1, "note": "b", "temperatures": {"liver": 2.0}}
    assert card_of(store, "first")["note"] == "b"


def test_a_card_is_not_put_on_other_weights(store):
    old = register_model(store, "first", b"x", {})
    register_model(store, "first", b"y", {"steps": 2})

    with pytest.raises(ConflictError, match="replaced meanwhile"):
        amend_card(store, old, {"note": "of the old ones"})

    assert registered_model(store, "first").card == {"steps": 2}


def test_an_unknown_model_is_named_with_those_that_are_there(store):
    register_model(store, "first", b"x", {})

    with pytest.raises(UsageError, match=r"'other'.*known are: first"):
        registered_model(store, "other")


def test_a_card_that_cannot_be_written_is_a_storage_error(store):
    (store.workspace.models_path / "first.json").mkdir()

    with pytest.raises(StorageError, match=r"first\.json cannot be written"):
        register_model(store, "first", b"x", {})


@pytest.mark.parametrize(
    "card",
    [
        {"structures": ["liver"]},
        {"datasets": {"a": 1}, "licences": ["nc"]},
        {"validations": [1], "temperatures": 3},
        {"datasets": [{"id": "a"}]},
    ],
)
def test_a_section_of_another_shape_is_shown_as_a_fact(card):
    text = card_markdown("first", "0" * 64, card)

    for key, value in card.items():
        assert f"- {key}: {json.dumps(value, sort_keys=True)}" in text


def test_a_cell_cannot_break_the_page():
    text = card_markdown("first", "0", {"trained_on": "a | b\n# c <script>"})

    assert "**Trained on a \\| b # c &lt;script>.**" in text
