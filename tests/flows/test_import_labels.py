import json
import shutil
from datetime import datetime, timedelta

import nibabel
import numpy as np
import pytest

from configs.errors import SomeCasesFailedError, UsageError
from flows.export import ExportOptions, export
from flows.import_labels import import_labels
from flows.init import init
from flows.intake import intake
from storage.claims import claim_items
from storage.label_masks import read_label
from storage.label_sets import LabelNaming
from storage.labels import base_of, source_labels
from storage.predictions import CONSENSUS, Manifest, StoredMask, close_case, manifest_grid
from storage.rebuild import rebuild
from storage.releases import freeze_release
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify

NOW = datetime(2026, 1, 5, 12, 0)
LAYOUTS = ["abdomenatlas", "nnunet", "msd", "totalsegmentator"]


def lps():
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    affine[:3, 3] = (40.5, 30.25, 100.0)
    return affine


def oblique():
    turn, tilt = np.deg2rad(12), np.deg2rad(9)
    about_z = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_z) @ np.array(about_x) @ np.diag([-3.0, 2.5, 5.0])
    affine[:3, 3] = (31.7, -20.3, 77.7)
    return affine


def anisotropic():
    """First axis to inferior in 0.7 mm, second to right in 4 mm, third to posterior in 7 mm."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2] = -0.7, 4.0, -7.0
    affine[:, 3] = (-10.1, 20.2, 30.3, 1)
    return affine


AFFINES = {"lps": lps, "oblique": oblique, "anisotropic": anisotropic}


def grid_of(made, case=0):
    case_id = made.case_ids[case]
    prediction_id = made.prediction_id(case_id)
    with made.store.read() as connection:
        return manifest_grid(made.store, prediction_id, connection)


SCORES = (
    "volume_ml",
    "entropy_mean",
    "entropy_border",
    "self_consistency",
    "pairwise_dice",
    "inconsistency",
    "overlap_exclusive",
    "max_probability",
)


def predict(made, case=0, **boxes):
    """Close a case by another committee: structure -> its boxes in RAS voxels, none for absent."""
    case_id = made.case_ids[case]
    grid = grid_of(made, case)
    masks = []
    for structure, parts in boxes.items():
        mask = np.zeros(grid.ras_shape, bool)
        for part in parts:
            mask[tuple(slice(*extent) for extent in part)] = True
        stored = made.put_mask(mask, grid)
        if stored.object is not None:
            masks.append(StoredMask(CONSENSUS, structure, stored.object, stored.box, stored.voxels))
    scores = tuple(
        {"member": CONSENSUS, "structure": structure, **dict.fromkeys(SCORES, 0.5)}
        for structure in boxes
    )
    manifest = Manifest(case_id, "k-000000000002", (), grid, tuple(masks), (), scores)
    assert close_case(made.store, manifest, run_id="r-2", seconds=1.0)


def draw(made, case=0):
    """Liver with a tumor and a vessel inside, two kidneys with lesions, touching organs."""
    predict(
        made,
        case,
        liver=[((8, 16), (6, 12), (4, 10))],
        liver_tumor=[((10, 12), (8, 10), (5, 7))],
        hepatic_vessel=[((13, 14), (6, 12), (8, 9))],
        stomach=[((4, 8), (6, 12), (4, 10))],
        kidney_right=[((8, 12), (2, 5), (2, 8))],
        kidney_left=[((1, 4), (2, 5), (2, 8))],
        kidney_tumor=[((9, 11), (3, 4), (3, 5)), ((2, 3), (3, 4), (5, 7))],
        kidney_cyst=[((10, 12), (2, 4), (6, 8))],
        aorta=[],
    )


def released(made, case=0):
    """Structure -> mask of the labels as they are now."""
    shape = grid_of(made, case).ras_shape
    labels = freeze_release(made.store).case(made.case_ids[case]).labels
    return {x.structure: read_label(made.store.objects, x.mask, shape) for x in labels}


def imported(store, dataset, case_id, shape):
    with store.read() as connection:
        versions = source_labels(connection, f"dataset:{dataset}")
    newest = {x.structure: x.mask for x in versions if x.case_id == case_id}
    return {name: read_label(store.objects, mask, shape) for name, mask in newest.items()}


def lines(store):
    return len(list(store.journal.lines()))


def imports_of(store):
    return [line for line in store.journal.lines() if line.kind == "labels.imported"]


def labels_of(out):
    """The label files of an export, combined maps aside where there are single masks."""
    found = sorted(out.rglob("segmentations/*.nii.gz")) or sorted(out.glob("labelsTr/*.nii.gz"))
    assert found
    return found


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_exported_comes_back_voxel_by_voxel(make_annotated, tmp_path, layout, affine):
    made = make_annotated(affine=AFFINES[affine]())
    draw(made)
    expected = released(made)

    export(made.store, tmp_path / "out", ExportOptions(layout=layout))
    summary = import_labels(made.store, tmp_path / "out", dataset="back")

    found = imported(made.store, "back", made.case_ids[0], grid_of(made).ras_shape)
    assert set(found) == set(expected)
    for structure, mask in expected.items():
        assert np.array_equal(found[structure], mask), structure
    (case,) = summary.cases
    assert (case.inexact, case.absent) == ({}, ("aorta",))


@pytest.mark.parametrize("layout", ["totalsegmentator", "nnunet"])
def test_a_new_workspace_takes_an_export_in_whole(make_annotated, tmp_path, layout):
    """Intake of the exported CTs, then of the labels: the other end of a release."""
    made = make_annotated(cases=2, affine=lps())
    draw(made)
    expected = [released(made, case) for case in (0, 1)]
    shape = grid_of(made).ras_shape
    out = tmp_path / "out"
    export(made.store, out, ExportOptions(layout=layout))

    other = init(tmp_path / "other")
    taken = intake(other, [out])
    summary = import_labels(other, out, dataset="release")

    assert {file.case_id for file in taken.taken} == set(made.case_ids)
    assert taken.refused == ()
    assert summary.failed == ()
    for case_id, masks in zip(made.case_ids, expected, strict=True):
        found = imported(other, "release", case_id, shape)
        assert set(found) == set(masks)
        assert all(np.array_equal(found[name], mask) for name, mask in masks.items())


@pytest.mark.parametrize("layout", ["abdomenatlas", "nnunet"])
def test_without_a_ct_the_name_says_which_case_it_is(make_annotated, tmp_path, layout):
    made = make_annotated(affine=oblique())
    draw(made)
    expected = released(made)
    export(made.store, tmp_path / "out", ExportOptions(layout=layout, ct="none"))

    import_labels(made.store, tmp_path / "out", dataset="back")

    found = imported(made.store, "back", made.case_ids[0], grid_of(made).ras_shape)
    assert all(np.array_equal(found[name], mask) for name, mask in expected.items())


def test_equal_labels_are_recorded_once_and_changed_ones_alone_again(make_annotated, tmp_path):
    made = make_annotated(cases=2)
    out = tmp_path / "out"
    export(made.store, out, ExportOptions(layout="abdomenatlas"))
    import_labels(made.store, out, dataset="back")
    assert len(imports_of(made.store)) == 2

    again = import_labels(made.store, out, dataset="back")

    assert [case.changed for case in again.cases] == [(), ()]
    assert len(imports_of(made.store)) == 2
    path = out / made.case_ids[1] / "segmentations" / "liver.nii.gz"
    image = nibabel.load(path)
    voxels = np.asanyarray(image.dataobj).copy()
    voxels[0, 0, 0] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)

    third = import_labels(made.store, out, dataset="back")

    assert {case.case_id: case.changed for case in third.cases} == {
        made.case_ids[0]: (),
        made.case_ids[1]: ("liver",),
    }
    (version,) = imports_of(made.store)[-1].data["versions"]
    assert (version["structure"], version["parent"], version["linked"]) == ("liver", None, False)


def test_imports_survive_rebuild_and_name_no_path(make_annotated, tmp_path):
    made = make_annotated()
    export(made.store, tmp_path / "out", ExportOptions(layout="msd"))
    import_labels(made.store, tmp_path / "out", dataset="back")
    shape = grid_of(made).ras_shape
    before = imported(made.store, "back", made.case_ids[0], shape)

    rebuild(made.store)

    after = imported(made.store, "back", made.case_ids[0], shape)
    assert all(np.array_equal(after[name], mask) for name, mask in before.items())
    verify(made.store).raise_for_findings()
    assert str(tmp_path) not in made.store.journal.path.read_text()


def overlapping(made, out):
    """Stomach and liver claim 2 x 2 x 2 voxels both: the liver is painted later and keeps them.

    The liver's tumor lies outside the liver, so that a flat map would make the liver larger.
    """
    predict(
        made,
        stomach=[((4, 10), (6, 8), (4, 6))],
        liver=[((8, 16), (6, 8), (4, 6))],
        liver_tumor=[((8, 10), (10, 12), (4, 6))],
    )
    export(made.store, out, ExportOptions(layout="nnunet"))
    return out / "provenance" / f"{made.case_ids[0]}.json"


def test_what_a_flat_map_cannot_say_lies_beside_it(make_annotated, tmp_path):
    made = make_annotated()
    overlapping(made, tmp_path / "out")

    (case,) = import_labels(made.store, tmp_path / "out", dataset="back").cases

    beside = (tmp_path / "out").glob("masks_overlapping/*/*")
    assert sorted(path.name for path in beside) == ["liver.nii.gz", "stomach.nii.gz"]
    assert case.inexact == {}
    found = imported(made.store, "back", case.case_id, grid_of(made).ras_shape)
    assert {name: int(mask.sum()) for name, mask in found.items()} == {
        "stomach": 24,
        "liver": 32,
        "liver_tumor": 8,
    }


def test_what_a_flat_map_alone_loses_is_named(make_annotated, tmp_path):
    made = make_annotated()
    path = overlapping(made, tmp_path / "out")
    side_car = json.loads(path.read_text())
    for entry in side_car["structures"]:
        entry["file"] = None
    path.write_text(json.dumps(side_car))

    (case,) = import_labels(made.store, tmp_path / "out", dataset="back").cases

    assert case.inexact == {"stomach": (16, 24), "liver": (40, 32)}


def test_a_rejected_structure_does_not_come_back_as_absent(make_annotated, tmp_path):
    made = make_annotated()
    case_id = made.case_ids[0]
    claim_items(made.store, case_id, ["liver"], reader="a", now=NOW, lease=timedelta(minutes=9))
    with made.store.read() as connection:
        base = base_of(connection, case_id, "liver")
    verdict = Verdict(
        case_id=case_id,
        structure="liver",
        verdict="reject",
        reader="a",
        base_version=base[0],
        request_id="1",
        opened_at=NOW,
        active_s=1.0,
    )
    give_verdict(made.store, verdict, now=NOW)
    export(made.store, tmp_path / "out", ExportOptions(layout="nnunet"))

    import_labels(made.store, tmp_path / "out", dataset="back")

    found = imported(made.store, "back", case_id, grid_of(made).ras_shape)
    assert set(found) == {"spleen", "stomach"}


def saved_again(path, change=None, affine=None):
    image = nibabel.load(path)
    voxels = np.asanyarray(image.dataobj)
    changed = voxels if change is None else change(voxels)
    nibabel.save(nibabel.Nifti1Image(changed, image.affine if affine is None else affine), path)


def shifted(path):
    affine = nibabel.load(path).affine.copy()
    affine[0, 3] += 1.5
    saved_again(path, affine=affine)


def cropped(path):
    saved_again(path, lambda voxels: voxels[:, :, :-1])


def with_foreign_value(path):
    def change(voxels):
        changed = voxels.copy()
        changed[0, 0, 0] = 77
        return changed

    saved_again(path, change)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-12])


FAULTS = {
    "shifted": (shifted, {"grid_mismatch"}),
    "cropped": (cropped, {"grid_mismatch"}),
    "foreign": (with_foreign_value, {"foreign_values"}),
    "truncated": (truncated, {"truncated", "crc_error"}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layout", ["abdomenatlas", "msd"])
def test_a_bad_file_refuses_its_case_alone(make_annotated, tmp_path, layout, fault):
    made = make_annotated(cases=2)
    out = tmp_path / "out"
    export(made.store, out, ExportOptions(layout=layout))
    spoil, reasons = FAULTS[fault]
    bad = next(path for path in labels_of(out) if made.case_ids[0] in str(path))
    spoil(bad)

    summary = import_labels(made.store, out, dataset="back")

    (failed,) = summary.failed
    assert failed.reason in reasons
    assert [case.case_id for case in summary.cases] == [made.case_ids[1]]
    assert [line.data["case_id"] for line in imports_of(made.store)] == [made.case_ids[1]]
    with pytest.raises(SomeCasesFailedError):
        summary.raise_for_failures()


def test_a_scan_that_is_no_case_is_refused(make_annotated, tmp_path):
    made = make_annotated()
    export(made.store, tmp_path / "out", ExportOptions(layout="abdomenatlas"))
    stranger = init(tmp_path / "other")

    summary = import_labels(stranger, tmp_path / "out", dataset="back")

    assert [failed.reason for failed in summary.failed] == ["unknown_case"]


def test_a_mask_in_another_axis_order_lies_where_it_lay(make_annotated, tmp_path):
    made = make_annotated(affine=lps())
    draw(made)
    expected = released(made)
    out = tmp_path / "out"
    export(made.store, out, ExportOptions(layout="abdomenatlas"))
    for path in labels_of(out):
        nibabel.save(nibabel.as_closest_canonical(nibabel.load(path)), path)

    import_labels(made.store, out, dataset="back")

    found = imported(made.store, "back", made.case_ids[0], grid_of(made).ras_shape)
    assert all(np.array_equal(found[name], mask) for name, mask in expected.items())


def foreign_set(made, folder, **files):
    """A case folder with a CT, as others make it, and one mask file a name."""
    folder.mkdir(parents=True)
    source = made.store
    with source.read() as connection:
        path = connection.execute("SELECT path FROM case_files").fetchone()[0]
    shutil.copy(path, folder / "ct.nii.gz")
    image = nibabel.load(path)
    for name, value in files.items():
        voxels = np.zeros(image.shape, np.uint8)
        voxels[3:5, 3:5, 3:5] = value
        nibabel.save(nibabel.Nifti1Image(voxels, image.affine), folder / f"{name}.nii.gz")


def test_masks_beside_the_ct_with_other_tools_names_are_read(make_annotated, tmp_path):
    """As TotalSegmentator writes them: all classes in one folder, most of them not ours."""
    made = make_annotated()
    foreign_set(made, tmp_path / "set" / "s0001", small_bowel=1, vertebrae_L1=1, urinary_bladder=0)

    summary = import_labels(made.store, tmp_path / "set", dataset="total")

    (case,) = summary.cases
    assert (case.changed, case.absent) == (("intestine", "bladder"), ("bladder",))


def test_structure_says_what_was_looked_for(make_annotated, tmp_path):
    made = make_annotated()
    foreign_set(made, tmp_path / "set" / "s1", liver=1)

    naming = LabelNaming(structures=("liver", "pancreas"))
    (case,) = import_labels(made.store, tmp_path / "set", dataset="x", naming=naming).cases

    assert (case.changed, case.absent) == (("liver", "pancreas"), ("pancreas",))


def decathlon(made, folder, labels, **extra):
    """A flat label map with value 1 round value 2, and its dataset.json."""
    foreign_set(made, folder / "imagesTr")
    (folder / "imagesTr" / "ct.nii.gz").rename(folder / "imagesTr" / "one.nii.gz")
    image = nibabel.load(folder / "imagesTr" / "one.nii.gz")
    voxels = np.zeros(image.shape, np.uint8)
    voxels[5:11, 5:11, 5:11] = 1
    voxels[7:9, 7:9, 7:9] = 2
    (folder / "labelsTr").mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), folder / "labelsTr" / "one.nii.gz")
    pair = {"image": "./imagesTr/one.nii.gz", "label": "./labelsTr/one.nii.gz"}
    content = {"labels": labels, "training": [pair], **extra}
    (folder / "dataset.json").write_text(json.dumps(content))


def test_foreign_names_are_passed_over_or_given_a_meaning(make_annotated, tmp_path):
    made = make_annotated()
    decathlon(made, tmp_path / "set", {"0": "background", "1": "liver", "2": "cancer"})

    unnamed = import_labels(made.store, tmp_path / "set", dataset="a")
    naming = LabelNaming(renamed={"cancer": "liver_tumor"})
    named = import_labels(made.store, tmp_path / "set", dataset="b", naming=naming)

    case_id = named.cases[0].case_id
    shape = grid_of(made).ras_shape
    assert unnamed.unknown_names == ("cancer",)
    assert imported(made.store, "a", case_id, shape)["liver"].sum() == 216 - 8
    found = imported(made.store, "b", case_id, shape)
    assert (found["liver"].sum(), found["liver_tumor"].sum()) == (216, 8)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"labels": {"background": 0, "liver": "one"}}, "whole numbers"),
        ({"labels": []}, "an object with"),
        ({"labels": {"1": "liver"}, "training": [{"image": "a"}]}, "pairs"),
        ({"labels": {"1": "liver"}, "training": [{"image": "a", "label": "../b"}]}, "stay inside"),
        ({"labels": {"1": "liver"}, "training": [{"image": "a", "label": "/b"}]}, "stay inside"),
        ({"labels": {"1": "nose"}, "training": [{"image": "a", "label": "b"}]}, "--name"),
        ({"labels": {"liver": 1}}, "no labels were found"),
        ({"labels": {"liver": 1}, "file_ending": ".png"}, "file_ending"),
    ],
)
def test_a_label_map_that_makes_no_sense_is_refused(empty_store, tmp_path, content, match):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(content))

    with pytest.raises(UsageError, match=match):
        import_labels(empty_store, tmp_path / "set", dataset="x")


@pytest.mark.parametrize("name", ["", "a:b", "a b", "-x", "é"])
def test_a_datasets_name_is_plain(empty_store, tmp_path, name):
    with pytest.raises(UsageError, match="a dataset's name"):
        import_labels(empty_store, tmp_path, dataset=name)


def test_regions_of_nnunet_are_read_as_lists_of_values(make_annotated, tmp_path):
    made = make_annotated()
    decathlon(made, tmp_path / "set", {"background": 0, "colon": [1, 2], "liver_tumor": [2]})
    content = json.loads((tmp_path / "set" / "dataset.json").read_text())
    del content["training"]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(content))
    images = tmp_path / "set" / "imagesTr"
    (images / "one.nii.gz").rename(images / "one_0000.nii.gz")

    summary = import_labels(made.store, tmp_path / "set", dataset="x")

    found = imported(made.store, "x", summary.cases[0].case_id, grid_of(made).ras_shape)
    assert (summary.layout, found["colon"].sum(), found["liver_tumor"].sum()) == ("nnunet", 216, 8)
