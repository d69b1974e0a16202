from pathlib import Path

import numpy as np
import pytest

import flows.phantom
from configs.errors import UsageError
from configs.phantom import PhantomSites, load_phantom_sites
from configs.taxonomy import load_taxonomy
from flows.phantom import case_seed, make_cohort, site_protocol
from storage.cohort import read_cohort


@pytest.fixture
def coarse_sites(monkeypatch: pytest.MonkeyPatch) -> PhantomSites:
    """The shipped sites at 12 mm and cut to the pelvis, to be quick."""
    content = load_phantom_sites().model_dump()
    for site in content["sites"]:
        site["protocol"] |= {"spacing_mm": (12, 12, 12), "slice_thickness_mm": 12}
        site["protocol"]["fields"] = {"pelvis": 1}
    sites = PhantomSites.model_validate(content)
    monkeypatch.setattr(flows.phantom, "load_phantom_sites", lambda: sites)
    return sites


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.usefixtures("coarse_sites")
def test_cases_go_round_the_sites(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    summary = make_cohort(
        tmp_path / "out", cases=3, seed=5, sites=["aspen", "cedar"], workers=1,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip

    cohort = read_cohort(tmp_path / "out")
    assert [case.case for case in cohort.cases] == ["aspen_0000", "cedar_0001", "aspen_0002"]
    assert (summary.made, summary.kept, summary.by_site) == (3, 0, {"aspen": 2, "cedar": 1})
    assert calls == [(1, 3), (2, 3), (3, 3)]
    for index, case in enumerate(cohort.cases):
        site = load_phantom_sites().select([case.site])[0]
        assert case.annotated == site.annotates
        assert case.record.seed == case_seed(5, index)
        labels, truth = case.read_labels(), case.read_truth()
        assert all((labels[name] == truth[name]).all() for name in case.annotated)
        assert case.read_hu()[0].shape == truth["bladder"].shape
        assert truth["bladder"].any()


@pytest.mark.usefixtures("coarse_sites")
def test_a_killed_run_is_finished_without_remaking(tmp_path: Path) -> None:
    make_cohort(tmp_path / "whole", cases=2, seed=5, workers=1)
    broken = tmp_path / "broken"
    make_cohort(broken, cases=1, seed=5, workers=1)
    (broken / "cohort.json").unlink()
    kept = broken / "aspen" / "aspen_0000" / "ct.nii.gz"
    stamp = kept.stat().st_mtime_ns

    summary = make_cohort(broken, cases=2, seed=5, workers=1)

    assert (summary.made, summary.kept) == (1, 1)
    assert kept.stat().st_mtime_ns == stamp
    assert files(broken) == files(tmp_path / "whole")


@pytest.mark.usefixtures("coarse_sites")
def test_processes_make_the_same_bytes(tmp_path: Path) -> None:
    make_cohort(tmp_path / "one", cases=2, seed=6, workers=1)

    make_cohort(tmp_path / "two", cases=2, seed=6, workers=2)

    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.usefixtures("coarse_sites")
def test_other_seeds_and_sites_do_not_mix(tmp_path: Path) -> None:
    make_cohort(tmp_path / "out", cases=1, seed=5, workers=1)

    with pytest.raises(UsageError, match="continued only with"):
        make_cohort(tmp_path / "out", cases=1, seed=6, workers=1)
    with pytest.raises(UsageError, match="continued only with"):
        make_cohort(tmp_path / "out", cases=1, seed=5, sites=["aspen"], workers=1)


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(UsageError, match="empty or new folder"):
        make_cohort(tmp_path, cases=1, seed=5)

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "wrong", [{"cases": 0}, {"seed": -1}, {"workers": 0}, {"sites": ["atlantis"]}]
)
def test_impossible_wishes_are_refused(tmp_path: Path, wrong: dict) -> None:
    wishes = {"cases": 1, "seed": 1, "workers": 1} | wrong

    with pytest.raises(UsageError, match="got"):
        make_cohort(tmp_path / "out", **wishes)

    assert not (tmp_path / "out").exists()


def test_case_seeds_are_numpys() -> None:
    expected = np.random.SeedSequence(5, spawn_key=(2,)).generate_state(1)[0]

    assert case_seed(5, 2) == expected
    assert len({case_seed(seed, index) for seed in range(20) for index in range(20)}) == 400


def test_every_site_has_a_valid_protocol() -> None:
    for site in load_phantom_sites().sites:
        assert site_protocol(site).spacing_mm == site.protocol.spacing_mm
        assert set(site.annotates) <= set(load_taxonomy().names)
