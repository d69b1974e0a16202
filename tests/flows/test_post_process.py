import json
from dataclasses import replace

import pytest

from configs.errors import ConfigError
from configs.post_process import shipped_post_process
from flows.annotate import annotate
from flows.gate import running
from flows.intake import intake
from flows.lesion_candidates import FoundCandidates
from model.annotate import StructureResult
from model.grid import Box
from model.lesion_candidates import Candidate
from model.triage_candidates import TriageCandidate, TriageCandidates
from storage.grid import Grid
from storage.lesion_candidates import candidates_of
from storage.model_registry import configured_committee
from storage.predictions import StoredCandidate
from storage.store import Store
from storage.verify import verify
from tests.stored_scores import scores_of

OWN = """
version = 1
[candidates]
low_probability = 0.05
most = 2
[[rules]]
keep = "largest"
structures = ["liver_tumor"]
least_ml = 1e6
"""


def with_rules(store, value):
    path = store.workspace.settings_path
    path.write_text(path.read_text() + f'post_process = "{value}"\n')
    return Store.open(store.workspace.root)


@pytest.fixture
def store(store):
    """Ends in the section of annotate, so that a test can add to it."""
    path = store.workspace.settings_path
    lines = path.read_text()
    section = '[annotate]\ndevice = "cpu"\nautocast = "off"\n'
    assert section in lines
    path.write_text(lines.replace(section, "") + section)
    return Store.open(store.workspace.root)


def annotated(store, write_ct, tmp_path, count=1):
    for seed in range(count):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    intake(store, [tmp_path / "cts"])
    committee_id = annotate(store).committee_id
    with store.read() as connection:
        (row,) = connection.execute("SELECT manifest FROM predictions").fetchone()
        found = candidates_of(connection, committee_id)
        records = scores_of(connection, committee_id)
    return json.loads(store.objects.read(row)), found, records


def test_a_case_says_which_rules_made_its_masks(store, write_ct, tmp_path):
    manifest, _, records = annotated(store, write_ct, tmp_path)

    assert manifest["post_process"] == shipped_post_process().digest
    assert store.objects.read(manifest["post_process"]) == shipped_post_process().content
    assert all(record.removed_ml is not None for record in records)
    assert any(record.removed_ml > 0 for record in records), "random networks draw specks"
    assert verify(store).findings == ()


def test_candidates_lie_on_the_files_grid(store, write_ct, tmp_path):
    manifest, found, _ = annotated(store, write_ct, tmp_path)

    assert len(manifest["candidates"]) == len(found) > 0
    for record in found:
        assert record.candidate.structure == "liver_tumor"
        assert all(0 <= v < n for v, n in zip(record.candidate.centre, (24, 22, 20), strict=True))


def test_candidates_are_told_in_the_files_own_axis_order():
    grid = Grid.from_affine((20, 10, 30), [[0, -1, 0, 0], [2, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    candidate = Candidate(
        peak=0.5,
        box=Box((1, 2, 3), (4, 5, 6)),
        centre=(2, 3, 4),
        voxels=2,
        volume_mm3=4.0,
        diameter_mm=1.0,
        host_share=None,
    )
    found = FoundCandidates(grid)
    result = StructureResult(
        structure="liver_tumor",
        box=None,
        masks={},
        consensus=None,
        uncertainty=None,
        disagreement=None,
        scores=(),
        candidates=TriageCandidates((TriageCandidate(candidate, in_mask=False),), 2),
    )

    found.add(result)
    found.add(replace(result, structure="liver", candidates=None))

    # The file's second axis runs to the left and has 10 voxels; its first one runs to the front.
    assert found.listed == [StoredCandidate("liver_tumor", 0.5, 0.004, (3, 7, 4), None, False)]
    assert found.left_out == {"liver_tumor": 2}


def test_off_leaves_raw_masks_and_looks_for_no_candidates(store, write_ct, tmp_path):
    manifest, found, records = annotated(with_rules(store, "off"), write_ct, tmp_path)

    assert (manifest["post_process"], manifest["candidates"], found) == ("off", [], [])
    assert {record.removed_ml for record in records} == {None}


def test_own_rules_lie_in_the_workspace(store, write_ct, tmp_path):
    (store.workspace.root / "own.toml").write_text(OWN)

    manifest, found, records = annotated(with_rules(store, "own.toml"), write_ct, tmp_path)

    rules = json.loads(store.objects.read(manifest["post_process"]))
    assert rules["candidates"] == {"low_probability": 0.05, "most": 2}
    tumors = [one for one in records if one.structure == "liver_tumor"]
    assert {one.volume_ml for one in tumors} == {0.0}
    assert all(one.removed_ml > 0 for one in tumors)
    assert {one.removed_ml for one in records if one.structure != "liver_tumor"} == {0.0}
    assert [one.candidate.in_mask for one in found] == [False] * len(found)
    assert found[0].candidate.peak > 0.5


def test_other_rules_are_another_committee_that_the_gate_uses_too(store):
    shipped = configured_committee(store).committee_id
    off = configured_committee(with_rules(store, "off"))

    assert off.committee_id != shipped
    assert off.rules is None
    assert running(store)[1].rules is shipped_post_process()
    assert running(Store.open(store.workspace.root))[1].rules is None


def test_rules_that_are_none_stop_a_run_before_it_starts(store):
    store = with_rules(store, "gone.toml")

    with pytest.raises(ConfigError, match="gone"):
        annotate(store)
    with pytest.raises(ConfigError, match=r"annotate\.post_process"):
        with_rules_text(store, "maybe")


def with_rules_text(store, value):
    path = store.workspace.settings_path
    path.write_text(path.read_text().replace("gone.toml", value))
    return Store.open(store.workspace.root)
