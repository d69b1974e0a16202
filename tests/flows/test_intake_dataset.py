"""Every dataset that can be read, as a small folder in its own layout."""

import re

import nibabel
import numpy as np
import pytest

from configs.connectors import load_datasets
from configs.taxonomy import load_taxonomy
from flows.init import init
from flows.intake_dataset import intake_dataset
from flows.retrain import corrections
from storage.cases import all_cases
from storage.dataset_cases import dataset_cases
from storage.label_masks import read_label
from storage.labels import dataset_labels, source_labels
from storage.splits import freeze_roles

SHAPE = (44, 30, 24)
READABLE = [d for d in load_datasets().values() if d.needs == "nifti"]
LAYOUTS = [(d, layout) for d in READABLE for layout in d.layouts]
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


@pytest.mark.parametrize(
    ("dataset", "layout"), LAYOUTS, ids=[f"{d.id}-{d.layouts.index(x)}" for d, x in LAYOUTS]
)
def test_every_dataset_comes_in_from_its_own_layout(shared_store, tmp_path, dataset, layout):
    affine = SLICES_FIRST if dataset.id.startswith("kits") else LPS
    seed = LAYOUTS.index((dataset, layout))
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
