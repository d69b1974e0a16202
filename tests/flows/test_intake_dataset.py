"""Every dataset that can be read, as a small folder in its own layout."""

import json
import re

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from configs.connectors import load_datasets
from configs.errors import Reason, SomeCasesFailedError, UsageError
from configs.taxonomy import load_taxonomy
from flows import cli
from flows.dataset_labels import CaseLabelReader, Oddity
from flows.init import init
from flows.intake_dataset import intake_dataset
from flows.retrain import corrections
from storage.cases import all_cases
from storage.dataset_cases import dataset_cases, license_flags
from storage.dataset_files import find_dataset_files
from storage.image_faults import VolumeLimits
from storage.label_masks import read_label
from storage.labels import dataset_labels, source_labels
from storage.rebuild import rebuild
from storage.splits import freeze_roles
from storage.verify import verify

SHAPE = (44, 30, 24)
READABLE = [d for d in load_datasets().values() if d.needs == "nifti"]
OTHER_LAYOUTS = [(d, layout) for d in READABLE for layout in d.layouts[1:]]
# First axis to the left, second to the back: as most CTs are stored.
LPS = np.diag([-8.0, -8.0, 8.0, 1.0])
# Slices first, then back, then left: as KiTS is stored.
SLICES_FIRST = np.array([[0, 0, -8, 0], [0, -8, 0, 0], [-8, 0, 0, 0], [0, 0, 0, 1.0]])
MIDDLE = 20.0
SIDES = {"liver": "right", "spleen": "left"}


def ct(seed):
    """A body of 15 voxels to each side of voxel 20, RAS order."""
    i, j, _ = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    hu = np.random.default_rng(seed).normal(40, 20, SHAPE)
    hu[((i - MIDDLE) / 15) ** 2 + ((j - 14) / 11) ** 2 > 1] = -1000
    return hu.astype(np.int16)


def save(path, ras, affine):
    """Write a RAS array in the axis order of an affine, as a file elsewhere would lie."""
    turn = nibabel.orientations.io_orientation(affine)
    back = nibabel.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], turn)
    array = nibabel.orientations.apply_orientation(ras, back)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def cube(place, j, k):
    mask = np.zeros(SHAPE, bool)
    mask[place : place + 3, j : j + 3, k : k + 3] = True
    return mask


def spot(number, side):
    """The number-th of 30 places on one side of the body, 3 x 3 x 3 voxels each."""
    row, column = divmod(number, 6)
    depth, height = divmod(column, 3)
    place = 7 if side == "left" else 30
    return cube(place, 6 + 3 * row, 2 + 7 * height + 3 * depth)


def label_map(dataset):
    """Native values, RAS order: what lies on one side has one spot there, a pair has two."""
    array = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(dataset.labels):
        sources = {name: s for name, s in dataset.map.items() if value in s.values}
        is_pair = any(source.split for source in sources.values())
        sides = {side_of(name) for name in sources} - {None}
        if is_pair or not sides:
            sides = {"left", "right"}
        for side in sides:
            array[spot(number, side)] = value
    return array


def side_of(structure):
    return SIDES.get(structure) or load_taxonomy()[structure].side


def expected(dataset, array, structure):
    """What the map says, worked out here: values of the whole map, halved at the body's middle."""
    source = dataset.map[structure]
    mask = np.isin(array, source.values)
    if source.split:
        places = np.arange(SHAPE[0])[:, None, None] * np.ones(SHAPE)
        mask &= places < MIDDLE if side_of(structure) == "left" else places > MIDDLE
    return mask


def filled(pattern, number, *, structure=""):
    """A layout's pattern as the path of one case."""
    values = {"split": "Tr", "part": "1", "source": "site", "name": f"case{number}"}

    def one(match):
        name, _, form = match[1].partition(":")
        if name == "id":
            return f"{number:{form}}" if form else str(number)
        return structure if name == "structure" else values[name]

    return re.sub(r"\{([^}]+)\}", one, pattern).replace("*", "any")


def write_case(folder, dataset, layout, number, *, affine=LPS, array=None, seed=None):
    """Write one case and return its masks by structure."""
    hu = ct(number if seed is None else seed)
    save(folder / filled(layout.image, number), hu, affine)
    if "{structure}" not in layout.label:
        array = label_map(dataset) if array is None else array
        save(folder / filled(layout.label, number), array, affine)
        return {name: expected(dataset, array, name) for name in dataset.map}
    masks = {}
    files = [(name, file) for name, source in dataset.map.items() for file in source.files]
    for place, (name, file) in enumerate(files):
        mask = spot(place % 30, side_of(name) or "left")
        save(folder / filled(layout.label, number, structure=file), mask.astype(np.uint8), affine)
        masks[name] = masks.get(name, np.zeros(SHAPE, bool)) | mask
    return masks


def stored(store, dataset_id):
    """Case id -> structure -> mask in RAS order."""
    with store.read() as connection:
        versions = source_labels(connection, f"dataset:{dataset_id}")
    found = {}
    for version in versions:
        mask = read_label(store.objects, version.mask, SHAPE)
        found.setdefault(version.case_id, {})[version.structure] = mask
    return found


def members(store, case_id=None):
    with store.read() as connection:
        return dataset_cases(connection, case_id=case_id)


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    """One workspace for all layouts, since making one takes longer than filling it."""
    return init(tmp_path_factory.mktemp("shared") / "workspace")


@pytest.mark.parametrize("dataset", READABLE, ids=[d.id for d in READABLE])
def test_every_dataset_comes_in_from_its_own_layout(shared_store, tmp_path, dataset):
    affine = SLICES_FIRST if dataset.id.startswith("kits") else LPS
    layout = dataset.layouts[0]
    seed = READABLE.index(dataset)
    masks = write_case(tmp_path / "d", dataset, layout, 3, affine=affine, seed=seed)

    summary = intake_dataset(shared_store, dataset.id, tmp_path / "d")

    (case,) = summary.cases
    assert (summary.refused, summary.images.refused) == ((), ())
    assert case.annotated == dataset.annotated
    found = stored(shared_store, dataset.id).get(case.case_id, {})
    assert set(found) == set(masks)
    for structure, mask in masks.items():
        assert mask.any()
        assert np.array_equal(found[structure], mask), structure
    assert set(case.weak) == {name for name, source in dataset.map.items() if source.weak}
    name = "3" if "{id" in layout.image else "site/case3"
    said = {(m.dataset, m.name, m.annotated) for m in members(shared_store, case.case_id)}
    assert said == {(dataset.id, name, dataset.annotated)}


@pytest.mark.parametrize(
    ("dataset", "layout"),
    OTHER_LAYOUTS,
    ids=[f"{d.id}-{d.layouts.index(x)}" for d, x in OTHER_LAYOUTS],
)
def test_every_other_layout_gives_the_same_masks(tmp_path, dataset, layout):
    masks = write_case(tmp_path / "d", dataset, layout, 3)

    (case,) = find_dataset_files(tmp_path / "d", dataset).cases
    found = dict(CaseLabelReader(dataset, case, VolumeLimits()).masks())

    assert (case.number, case.has_labels) == (3, True)
    assert set(found) == set(masks)
    assert all(np.array_equal(found[name], mask) for name, mask in masks.items())


def dataset(name):
    return load_datasets()[name]


def bring(store, tmp_path, name, **arrays):
    """Intake of cases given as ``case_NUMBER`` -> native label map."""
    for key, array in arrays.items():
        number = int(key.partition("_")[2])
        write_case(tmp_path / name, dataset(name), dataset(name).layouts[0], number, array=array)
    return intake_dataset(store, name, tmp_path / name)


def test_absent_is_not_unlabeled(empty_store, tmp_path):
    """LiTS looks for liver and tumor everywhere, and for nothing else."""
    array = np.zeros(SHAPE, np.uint8)
    array[spot(1, "right")] = 1

    summary = bring(empty_store, tmp_path, "lits", case_7=array)

    (case,) = summary.cases
    assert (case.annotated, case.absent) == (("liver", "liver_tumor"), ("liver_tumor",))
    with empty_store.read() as connection:
        labels = dataset_labels(connection)
    assert {name: label.mask.voxels for (_, name), label in labels.items()} == {
        "liver": 27,
        "liver_tumor": 0,
    }
    counts = {c.structure: (c.annotated, c.present, c.absent) for c in summary.structures()}
    assert counts == {"liver": (1, 1, 0), "liver_tumor": (1, 0, 1)}


def test_what_does_not_occur_in_flare23_is_unknown(empty_store, tmp_path):
    array = np.zeros(SHAPE, np.uint8)
    array[spot(1, "right")] = 1

    (case,) = bring(empty_store, tmp_path, "flare23", case_7=array).cases

    assert (case.annotated, case.absent) == (("liver",), ())


def test_cases_can_differ_from_their_dataset(empty_store, tmp_path):
    ext = dataset("btcv_multiorgan_ext")
    array = label_map(ext)

    summary = bring(empty_store, tmp_path, ext.id, case_40=array, case_61=array)

    early, late = summary.cases
    assert (early.name, early.annotated) == ("40", ext.annotated)
    assert late.annotated == tuple(
        "spleen kidney_left gall_bladder esophagus liver stomach pancreas duodenum".split()  # noqa: SIM905 one line
    )


def test_machine_made_lungs_of_ct_org_are_weak_and_train_nothing(empty_store, tmp_path):
    array = label_map(dataset("ct_org"))
    summary = bring(empty_store, tmp_path, "ct_org", case_5=array, case_30=array)
    test_part, others = summary.cases
    assert (test_part.weak, others.weak) == ((), ("lung_right", "lung_left"))

    with empty_store.read() as connection:
        strong = dataset_labels(connection)

    assert (test_part.case_id, "lung_left") in strong
    assert (others.case_id, "lung_left") not in strong
    assert (others.case_id, "liver") in strong
    assert stored(empty_store, "ct_org")[others.case_id]["lung_left"].sum() == 27
    roles = {case.patient_id: "train" for case in cases_of(empty_store)}
    freeze_roles(empty_store, roles)
    trained = {(label.case_id, label.structure) for label in corrections(empty_store)}
    assert trained == set(strong)


def cases_of(store):
    with store.read() as connection:
        return all_cases(connection)


def spread(**values):
    """A label map of cubes: value -> its first index; "4_right=30" puts value 4 at voxel 30."""
    array = np.zeros(SHAPE, np.uint8)
    for key, place in values.items():
        array[cube(place, 12, 10)] = int(key.strip("v").partition("_")[0])
    return array


def oddities(case):
    return {(finding.structure, finding.oddity) for finding in case.findings}


def test_one_kidney_is_told_and_the_other_is_absent(empty_store, tmp_path):
    (case,) = bring(empty_store, tmp_path, "kits19", case_1=spread(v1=8)).cases

    masks = stored(empty_store, "kits19")[case.case_id]
    assert masks["kidney_left"].sum() == 27
    assert not masks["kidney_right"].any()
    assert ("kidney_right", Oddity.ONE_SIDE) in oddities(case)
    assert case.absent == ("kidney_right", "kidney_tumor")


def test_a_tumor_counts_with_its_kidney(empty_store, tmp_path):
    array = spread(v1=8, v1_right=30)
    array[8, 12, 10] = 2

    (case,) = bring(empty_store, tmp_path, "kits19", case_1=array).cases

    masks = stored(empty_store, "kits19")[case.case_id]
    assert masks["kidney_left"].sum() == 27
    assert np.argwhere(masks["kidney_tumor"]).tolist() == [[8, 12, 10]]


def test_a_kidney_across_the_midline_is_left_out_not_guessed(empty_store, tmp_path):
    array = np.zeros(SHAPE, np.uint8)
    array[12:30, 12:15, 10:13] = 1
    array[9, 9, 9] = 2

    (case,) = bring(empty_store, tmp_path, "kits19", case_1=array).cases

    assert case.annotated == ("kidney_tumor",)
    assert oddities(case) == {
        ("kidney_left", Oddity.UNSURE_SIDE),
        ("kidney_right", Oddity.UNSURE_SIDE),
    }


def test_a_liver_on_the_left_stops_the_parting_of_pairs(empty_store, tmp_path):
    """The whole scan is mirrored: what is parted by the body would be the wrong way round."""
    array = spread(v1=8, v2=30, v4=30)
    array[cube(8, 18, 10)] = 2

    (case,) = bring(empty_store, tmp_path, "abdomenct_1k", case_1=array).cases

    assert case.annotated == ("spleen", "liver", "pancreas")
    assert ("liver", Oddity.MIRRORED) in oddities(case)
    assert ("kidney_left", Oddity.UNSURE_SIDE) in oddities(case)


def test_a_named_side_that_contradicts_the_body_is_weak(empty_store, tmp_path):
    array = label_map(dataset("btcv"))
    left, right = array == 3, array == 2
    array[left], array[right] = 2, 3

    (case,) = bring(empty_store, tmp_path, "btcv", case_1=array).cases

    assert case.weak == ("kidney_right", "kidney_left")
    assert oddities(case) == {
        ("kidney_left", Oddity.WRONG_SIDE),
        ("kidney_right", Oddity.WRONG_SIDE),
    }


def test_undeclared_values_are_refused_with_the_list_and_the_rest_goes_on(empty_store, tmp_path):
    """A copy of Pancreas-CT's labels that was renumbered from 1 to 9 must not come in."""
    wrong = spread(v2=8, v9=30, v6=14)

    summary = bring(
        empty_store,
        tmp_path,
        "pancreas_ct_multiorgan",
        case_1=wrong,
        case_4=label_map(dataset("pancreas_ct_multiorgan")),
    )

    (refused,) = summary.refused
    assert (refused.name, refused.reason) == ("1", Reason.FOREIGN_VALUES)
    assert "2 (27 voxels), 9 (27 voxels)" in refused.message
    assert [case.name for case in summary.cases] == ["4"]
    assert len(summary.images.taken) == 2
    with pytest.raises(SomeCasesFailedError):
        summary.raise_for_refusals()


@pytest.mark.parametrize("value", [300.0, 1.5, np.nan, -1.0])
def test_values_that_are_no_labels_are_refused(empty_store, tmp_path, value):
    layout = dataset("word").layouts[0]
    write_case(tmp_path / "d", dataset("word"), layout, 1)
    array = np.zeros(SHAPE, np.float32)
    array[3, 3, 3] = value
    save(tmp_path / "d" / filled(layout.label, 1), array, LPS)

    (refused,) = intake_dataset(empty_store, "word", tmp_path / "d").refused

    assert refused.reason is Reason.FOREIGN_VALUES
    assert "word" in refused.message


def test_labels_on_another_grid_are_refused(empty_store, tmp_path):
    layout = dataset("word").layouts[0]
    write_case(tmp_path / "d", dataset("word"), layout, 1)
    shifted = LPS.copy()
    shifted[0, 3] = 4.0
    save(tmp_path / "d" / filled(layout.label, 1), label_map(dataset("word")), shifted)

    (refused,) = intake_dataset(empty_store, "word", tmp_path / "d").refused

    assert refused.reason is Reason.GRID_MISMATCH


def test_a_bad_ct_is_quarantined_and_its_labels_stay_out(empty_store, tmp_path):
    layout = dataset("word").layouts[0]
    for number in (1, 2):
        write_case(tmp_path / "d", dataset("word"), layout, number)
    (tmp_path / "d" / filled(layout.image, 1)).write_bytes(b"no image")

    summary = intake_dataset(empty_store, "word", tmp_path / "d")

    assert [file.reason for file in summary.images.refused] == [Reason.NOT_AN_IMAGE]
    assert [case.name for case in summary.cases] == ["2"]


def test_a_missing_structure_file_is_not_an_empty_one(empty_store, tmp_path):
    layout = dataset("totalsegmentator_v2").layouts[0]
    write_case(tmp_path / "d", dataset("totalsegmentator_v2"), layout, 1)
    for structure in ("spleen", "lung_middle_lobe_right"):
        (tmp_path / "d" / filled(layout.label, 1, structure=structure)).unlink()

    (case,) = intake_dataset(empty_store, "totalsegmentator_v2", tmp_path / "d").cases

    left_out = set(dataset("totalsegmentator_v2").annotated) - set(case.annotated)
    assert left_out == {"spleen", "lung_right"}
    assert oddities(case) == {
        ("spleen", Oddity.MISSING_FILE),
        ("lung_right", Oddity.MISSING_FILE),
    }


def test_again_changes_nothing_and_all_survives_rebuild(empty_store, tmp_path):
    first = bring(empty_store, tmp_path, "kits21", case_1=label_map(dataset("kits21")))
    lines = len(list(empty_store.journal.lines()))
    masks = stored(empty_store, "kits21")

    again = intake_dataset(empty_store, "kits21", tmp_path / "kits21")

    assert len(first.cases[0].changed) == 4
    assert again.cases[0].changed == ()
    # Each run says that it started, once for the CTs and once for the labels.
    new = list(empty_store.journal.lines())[lines:]
    assert {line.kind for line in new} == {"run.started"}
    before = members(empty_store)
    rebuild(empty_store)
    verify(empty_store).raise_for_findings()
    after = stored(empty_store, "kits21")
    assert members(empty_store) == before
    assert {k: set(v) for k, v in after.items()} == {k: set(v) for k, v in masks.items()}
    assert str(tmp_path) not in empty_store.journal.path.read_text()


def test_one_scan_in_two_datasets_is_one_case_with_both_labels(empty_store, tmp_path):
    array = np.zeros(SHAPE, np.uint8)
    array[spot(0, "right")] = 1
    bring(empty_store, tmp_path, "lits", case_5=array)
    array[spot(1, "right")] = 2

    (case,) = bring(empty_store, tmp_path, "msd_task03_liver", case_5=array).cases

    assert len({member.case_id for member in members(empty_store)}) == 1
    assert stored(empty_store, "lits")[case.case_id]["liver"].sum() == 27
    assert stored(empty_store, "msd_task03_liver")[case.case_id]["liver"].sum() == 54
    with empty_store.read() as connection:
        flags = license_flags(connection, [case.case_id])
    assert flags == {"lits": "nc", "msd_task03_liver": "copyleft"}


def test_unlabeled_cts_come_in_as_cts(empty_store, tmp_path):
    btcv = dataset("btcv")
    write_case(tmp_path / "d", btcv, btcv.layouts[0], 1)
    save(tmp_path / "d" / filled(btcv.layouts[0].unlabeled[0], 61), ct(61), LPS)

    summary = intake_dataset(empty_store, "btcv", tmp_path / "d")

    assert [(case.name, case.has_labels) for case in summary.cases] == [("1", True), ("61", False)]
    assert summary.cases[1].annotated == ()


def test_mri_of_amos_is_passed_over(empty_store, tmp_path):
    summary = bring(
        empty_store,
        tmp_path,
        "amos22_ct",
        case_500=label_map(dataset("amos22_ct")),
        case_507=label_map(dataset("amos22_ct")),
    )

    assert [case.name for case in summary.cases] == ["500"]
    assert summary.excluded == (("507", "MRI, not CT"),)
    assert "prostate" in summary.cases[0].weak


@pytest.mark.parametrize("name", [d.id for d in load_datasets().values() if d.needs != "nifti"])
def test_what_needs_another_reader_says_so(empty_store, tmp_path, name):
    with pytest.raises(UsageError, match=r"DICOM.*not there yet; convert"):
        intake_dataset(empty_store, name, tmp_path)


def test_overlaps_that_no_number_tells_are_named(empty_store, tmp_path):
    bring(empty_store, tmp_path, "kits19", case_1=label_map(dataset("kits19")))

    summary = bring(
        empty_store, tmp_path, "abdomenct_1k", case_2=label_map(dataset("abdomenct_1k"))
    )

    assert summary.overlapping == ("kits19",)


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("ATLASLOOP_WORKSPACE", raising=False)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.app, [str(argument) for argument in arguments])


def test_the_command_prints_a_report_and_ends_with_3_where_labels_are_refused(
    run, empty_store, tmp_path
):
    ct_org = dataset("ct_org")
    write_case(tmp_path / "d", ct_org, ct_org.layouts[0], 30)
    write_case(tmp_path / "d", ct_org, ct_org.layouts[0], 31, array=spread(v9=8))

    result = run("intake", "--dataset", "ct_org", tmp_path / "d", "-w", empty_store.workspace.root)

    assert result.exit_code == 3
    assert "ct_org (licence: permissive): 1 cases, 1 with labels, 6 labels new" in result.output
    row = next(line for line in result.output.splitlines() if "lung_left" in line)
    assert row.replace("│", " ").split() == ["lung_left", "1", "1", "0", "1"]
    assert "foreign_values" in result.output
    assert "9 (27 voxels)" in re.sub(r"[\s│]+", " ", result.output)


def test_wrong_use_of_datasets_ends_with_2(run, empty_store, tmp_path):
    workspace = ("-w", empty_store.workspace.root)

    for arguments in (
        ("intake", "--dataset", "nonsense", tmp_path, *workspace),
        ("intake", "--dataset", "word", tmp_path, tmp_path, *workspace),
        ("intake", "--dataset", "word", tmp_path, *workspace),
        ("intake", "--dataset", "chaos_ct", tmp_path, *workspace),
        ("datasets", "show", "nonsense"),
    ):
        assert run(*arguments).exit_code == 2


def test_datasets_are_listed_and_shown(run):
    listed, shown = run("datasets", "list"), run("datasets", "show", "amos22_ct")

    assert listed.exit_code == shown.exit_code == 0
    assert all(name in listed.output for name in load_datasets())
    assert "licence: nc (non-commercial)" in shown.output
    assert "10 pancreas" in shown.output
    assert "abdomenatlas_1_0_mini" in shown.output
    assert json.loads(run("datasets", "show", "lits", "--json").output)["map"]["liver"][
        "values"
    ] == [1, 2]
