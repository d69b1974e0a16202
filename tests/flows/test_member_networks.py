from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from scipy import special

from configs.errors import ConfigError
from configs.setting_sections import AnnotateSettings
from flows.annotate import annotate
from flows.intake import intake
from flows.member_networks import inference_profile, load_members, network_options
from flows.retrain import challengers
from model.network_options import NetworkOptions
from storage.gates import Challenge
from storage.model_registry import amend_card, configured_committee, registered_model
from storage.store import Store

CPU = torch.device("cpu")


def test_the_weights_own_window_holds_unless_a_profile_or_setting_says_otherwise(store) -> None:
    def seen(**settings) -> tuple[tuple[int, ...], float]:
        chosen = AnnotateSettings(device="cpu", **settings)
        member = load_members(configured_committee(store), chosen, CPU)[0]
        return member.inference.patch, member.inference.overlap

    assert seen() == ((16, 16, 16), 0.5)
    assert seen(profile="abdomenatlas") == ((96, 96, 96), 0.75)
    assert seen(profile="reference", overlap=0.25) == ((96, 96, 96), 0.25)
    assert seen(window=(32, 16, 16)) == ((32, 16, 16), 0.5)


def test_the_reference_runs_every_window() -> None:
    reference = AnnotateSettings(profile="reference", autocast="off", window_batch=1)

    assert network_options(reference, CPU) == NetworkOptions(body_only=False)
    assert inference_profile(AnnotateSettings()).body_only
    assert not inference_profile(AnnotateSettings(body_only=False)).body_only
    assert network_options(AnnotateSettings(blending="uniform"), CPU).blending == "uniform"


def with_settings(store: Store, text: str) -> Store:
    path = store.workspace.settings_path
    path.write_text(path.read_text().replace('autocast = "off"\n', text))
    return Store.open(store.workspace.root)


@pytest.fixture
def one_case(store: Store, write_ct, tmp_path) -> Store:
    write_ct(tmp_path / "cts" / "a.nii.gz", seed=1)
    intake(store, [tmp_path / "cts"])
    return store


def test_a_precision_that_decides_otherwise_is_refused_when_it_was_asked_for(
    one_case, monkeypatch
) -> None:
    monkeypatch.setattr("flows.checked_precision.differing_share", lambda *_, **__: 0.5)
    store = with_settings(one_case, 'autocast = "bfloat16"\n')

    with pytest.raises(ConfigError, match=r"bfloat16 m0 decides on 50.00% .* tolerance is 2.00%"):
        annotate(store)


def test_what_was_found_once_holds_for_later_runs(one_case, monkeypatch, caplog) -> None:
    asked = []

    def share(*_, **__) -> float:
        asked.append(1)
        return 0.5

    monkeypatch.setattr("flows.checked_precision.differing_share", share)
    monkeypatch.setattr("flows.devices.uses_bfloat16", lambda *_: True)
    store = with_settings(one_case, 'autocast = "auto"\n')

    assert len(annotate(store).closed) == 1
    assert "float32 is used" in caplog.text
    kept = json.loads((store.workspace.samples_path.parent / "precision.json").read_text())
    assert [set(shares) for shares in kept.values()] == [{"m0", "m1"}]
    assert len(asked) == 2


def manifest_of(store: Store) -> dict[str, Any]:
    """The manifest of the only case as the configured committee closed it."""
    annotate(store)
    committee_id = configured_committee(store).committee_id
    with store.read() as connection:
        row = connection.execute(
            "SELECT manifest FROM predictions WHERE committee_id = ?", [committee_id]
        ).fetchone()
    assert row is not None
    return json.loads(store.objects.read(row[0]))


def test_stored_temperatures_calibrate_a_member_and_name_another_committee(one_case) -> None:
    before, plain = configured_committee(one_case).committee_id, manifest_of(one_case)
    section = {"structures": {"liver": {"temperature": 3.0}}}
    amend_card(one_case, registered_model(one_case, "w0"), {"temperatures": section})

    calibrated = manifest_of(one_case)

    assert calibrated["committee_id"] != plain["committee_id"] == before
    assert [one.get("temperatures") for one in plain["members"]] == [None, None]
    assert [one.get("temperatures") for one in calibrated["members"]] == [{"liver": 3.0}, None]
    highest = [
        {(row["structure"], row["member"]): row["max_probability"] for row in one["scores"]}
        for one in (plain, calibrated)
    ]
    changed = {key for key in highest[0] if highest[0][key] != highest[1][key]}
    assert changed == {("liver", "m0"), ("liver", "committee")}
    assert highest[1]["liver", "m0"] == pytest.approx(
        special.expit(special.logit(highest[0]["liver", "m0"]) / 3), abs=1e-4
    )
    masks = [
        [one for one in m["masks"] if one["member"] != "committee"] for m in (plain, calibrated)
    ]
    assert masks[0] == masks[1]


def test_a_setting_votes_without_temperatures(one_case) -> None:
    before = configured_committee(one_case)
    section = {"structures": {"liver": {"temperature": 3.0}}}
    amend_card(one_case, registered_model(one_case, "w0"), {"temperatures": section})
    assert configured_committee(one_case) != before

    store = with_settings(one_case, 'autocast = "off"\ntemperatures = false\n')

    assert configured_committee(store) == before


def test_new_weights_are_judged_without_the_old_ones_temperatures(one_case) -> None:
    section = {"structures": {"liver": {"temperature": 3.0}}}
    model = registered_model(one_case, "w0")
    amend_card(one_case, model, {"temperatures": section})
    committee = configured_committee(one_case)
    other = registered_model(one_case, "w1").weights

    judged = challengers(one_case, committee, [Challenge("m0", "w0", model.weights, other, {})])

    assert committee.members[0].temperatures == {"liver": 3.0}
    assert judged.members[0].temperatures == {}
    assert judged.members[0].weights == other
