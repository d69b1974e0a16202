from pathlib import Path

import nibabel
import numpy as np
import pytest

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from storage.cohort import (
    CaseRecord,
    Cohort,
    CohortLesion,
    begin_cohort,
    finish_cohort,
    is_finished,
    read_cohort,
    write_case,
)

SHAPE = (4, 5, 6)


def record(case: str = "aspen_0000") -> CaseRecord:
    return CaseRecord(
        site="aspen",
        role="train",
        case=case,
        patient="p-1",
        seed=7,
        annotated=("spleen", "liver", "pancreas"),
        facts={"sex": "female", "fatness": 0.25},
        lesions=(CohortLesion(structure="liver_tumor", host="liver", diameter_mm=9, volume_ml=1),),
    )


def hu() -> np.ndarray:
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 50


def masks() -> dict[str, np.ndarray]:
    truth = {name: np.zeros(SHAPE, bool) for name in load_taxonomy().names}
    truth["liver"][2:, 1:3, :4] = True
    truth["liver_tumor"][3, 2, 1:3] = True
    truth["spleen"][0, 4, 5] = True
    return truth


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    out = tmp_path / "cohort"
    begin_cohort(out, seed=3, sites_digest="abc")
    write_case(out, record(), hu=hu(), spacing_mm=(3.0, 3.0, 5.0), masks=masks())
    return finish_cohort(out, seed=3, cases=[("aspen", "aspen_0000")])


def test_what_is_written_comes_back(cohort: Cohort) -> None:
    case = read_cohort(cohort.root).cases[0]
    voxels, spacing = case.read_hu()
    truth = case.read_truth()

    assert case.record == record()
    assert (case.site, case.case, case.patient) == ("aspen", "aspen_0000", "p-1")
    assert voxels.dtype == np.int16
    assert (voxels == hu()).all()
    assert spacing == (3.0, 3.0, 5.0)
    assert tuple(truth) == load_taxonomy().names
    assert all((truth[name] == mask).all() for name, mask in masks().items())


def test_labels_are_those_of_the_site_alone(cohort: Cohort) -> None:
    labels = cohort.cases[0].read_labels()

    assert tuple(labels) == ("spleen", "liver", "pancreas")
    assert (labels["liver"] == masks()["liver"]).all()
    assert not labels["pancreas"].any()
    assert labels["pancreas"].shape == SHAPE
    shared = {path.name for path in cohort.root.glob("aspen/*/segmentations/*")}
    assert shared == {"spleen.nii.gz", "liver.nii.gz"}


def test_files_are_plain_nifti_in_ras(cohort: Cohort) -> None:
    folder = cohort.cases[0].folder
    image = nibabel.load(folder / "ct.nii.gz")
    mask = nibabel.load(folder / "segmentations" / "liver.nii.gz")

    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.get_data_dtype() == np.int16
    assert mask.get_data_dtype() == np.uint8
    assert np.allclose(image.get_sform(), image.get_qform())
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert np.array_equal(image.affine, mask.affine)


def test_equal_cases_have_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_case(tmp_path / name, record(), hu=hu(), spacing_mm=(3, 3, 3), masks=masks())

    first, second = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in files}
        for name in ("a", "b")
        for files in [[p for p in (tmp_path / name).rglob("*") if p.is_file()]]
    )
    assert first == second
    assert len(first) == 7
    gzips = [data for path, data in first.items() if path.suffix == ".gz"]
    assert all(data[4:8] == bytes(4) for data in gzips)


def test_truth_hides_in_a_hidden_folder(cohort: Cohort) -> None:
    seen = [p.relative_to(cohort.root) for p in cohort.root.rglob("*.nii.gz")]

    hidden = {path.name for path in seen if path.parts[0] == ".truth"}

    assert hidden == {"liver.nii.gz", "liver_tumor.nii.gz", "spleen.nii.gz"}


def test_half_made_cohorts_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "cohort"
    begin_cohort(out, seed=3, sites_digest="abc")

    with pytest.raises(UsageError, match="half made"):
        read_cohort(out)


def test_a_case_counts_once_its_folder_is_there(tmp_path: Path) -> None:
    out = tmp_path / "cohort"
    begin_cohort(out, seed=3, sites_digest="abc")
    (out / "aspen" / ".aspen_0000.part" / "segmentations").mkdir(parents=True)
    before = is_finished(out, "aspen", "aspen_0000")

    write_case(out, record(), hu=hu(), spacing_mm=(3, 3, 3), masks=masks())

    assert not before
    assert is_finished(out, "aspen", "aspen_0000")
    assert [path.name for path in (out / "aspen").iterdir()] == ["aspen_0000"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"schema_version": 1}', '{"schema_version": 1, "seed": 1, "x": 2}']
)
def test_damaged_indexes_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cohort.json").write_text(content)

    with pytest.raises(UsageError, match=r"cohort\.json must be the index|schema version 1"):
        read_cohort(tmp_path)


def test_other_versions_are_refused(cohort: Cohort) -> None:
    index = cohort.root / "cohort.json"
    index.write_text(index.read_text().replace('"schema_version": 1', '"schema_version": 99'))

    with pytest.raises(UsageError, match="99"):
        read_cohort(cohort.root)


@pytest.mark.parametrize("name", ["nothing", "plain"])
def test_other_folders_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").mkdir()

    with pytest.raises(UsageError, match=r"cohort\.json"):
        read_cohort(tmp_path / name)


def test_a_missing_ct_is_named(cohort: Cohort) -> None:
    cohort.cases[0].ct_path.unlink()

    with pytest.raises(UsageError, match="aspen_0000"):
        read_cohort(cohort.root)


def test_missing_truth_is_told(cohort: Cohort) -> None:
    (cohort.root / ".truth" / "aspen" / "aspen_0000").rename(cohort.root / "elsewhere")

    with pytest.raises(UsageError, match="hidden folder"):
        cohort.cases[0].read_truth()


def test_damaged_images_are_told(cohort: Cohort) -> None:
    path = cohort.cases[0].ct_path
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(UsageError, match=r"ct\.nii\.gz is missing or damaged"):
        cohort.cases[0].read_hu()


def test_masks_on_another_grid_are_told(cohort: Cohort) -> None:
    path = cohort.cases[0].folder / "segmentations" / "liver.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), path)

    with pytest.raises(UsageError, match="grid"):
        cohort.cases[0].read_labels()


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    out = tmp_path / "cohort"
    begin_cohort(out, seed=3, sites_digest="abc")

    begin_cohort(out, seed=3, sites_digest="abc")
    for seed, sites in ((4, "abc"), (3, "other")):
        with pytest.raises(UsageError, match="continued only with"):
            begin_cohort(out, seed=seed, sites_digest=sites)


def test_full_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(UsageError, match="empty or new folder"):
        begin_cohort(tmp_path, seed=3, sites_digest="abc")
    with pytest.raises(UsageError, match="empty or new folder"):
        begin_cohort(tmp_path / "thesis.txt", seed=3, sites_digest="abc")
