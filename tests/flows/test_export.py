import gzip
import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import nibabel
import numpy as np
import pytest

from configs.errors import SomeCasesFailedError, UsageError
from flows.export import ExportOptions, export
from storage.cases import CaseFile
from storage.claims import claim_items
from storage.ct_copy import copy_ct
from storage.export_folder import MARKER, ExportFolder
from storage.intake_record import inspect_file
from storage.label_masks import read_label
from storage.labels import base_of
from storage.predictions import manifest_grid
from storage.releases import freeze_release
from storage.verdicts import Verdict, give_verdict
from storage.volume import Volume

NOW = datetime(2026, 1, 5, 12, 0)
LAYOUTS = ["abdomenatlas", "nnunet", "msd", "totalsegmentator"]


def lps_affine():
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    affine[:3, 3] = (40.5, 30.25, 100.0)
    return affine


def oblique_affine():
    turn, tilt = np.deg2rad(12), np.deg2rad(9)
    about_z = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-3.0, 2.5, 5.0])
    affine[:3, 3] = (31.7, -20.3, 77.7)
    return affine


def anisotropic_permuted_affine():
    """First axis to inferior in 0.7 mm, second to right in 4 mm, third to posterior in 7 mm."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2] = -0.7, 4.0, -7.0
    affine[:, 3] = (-10.1, 20.2, 30.3, 1)
    return affine


AFFINES = {"lps": lps_affine, "oblique": oblique_affine, "permuted": anisotropic_permuted_affine}


def judge(made, kind, structure, *, mask=None, case=0):
    case_id = made.case_ids[case]
    claim_items(
        made.store, case_id, [structure], reader="anna", now=NOW, lease=timedelta(minutes=10)
    )
    with made.store.read() as connection:
        base = base_of(connection, case_id, structure)
    assert base is not None
    verdict = Verdict(
        case_id=case_id,
        structure=structure,
        verdict=kind,
        reader="anna",
        base_version=base[0],
        request_id=f"{kind}-{structure}-{case}",
        opened_at=NOW,
        active_s=1.0,
        mask=mask,
    )
    return give_verdict(made.store, verdict, now=NOW)


def correct(made, structure, box, *, case=0):
    """Correct a structure to a box given in RAS voxels."""
    case_id = made.case_ids[case]
    prediction_id = made.prediction_id(case_id)
    with made.store.read() as connection:
        grid = manifest_grid(made.store, prediction_id, connection)
    mask = np.zeros(grid.ras_shape, bool)
    mask[tuple(slice(*extent) for extent in box)] = True
    return judge(made, "correct", structure, mask=made.put_mask(mask, grid), case=case)


def with_tumor(made):
    """Make the liver a box of 6 x 6 x 4 and its tumor one of 2 x 2 x 2 inside, case 0."""
    correct(made, "liver", ((10, 16), (8, 14), (6, 10)))
    correct(made, "liver_tumor", ((12, 14), (10, 12), (7, 9)))


def masks_of(store, release, case_id):
    """Structure -> mask in RAS order, read from the objects that the release names."""
    shape = tuple(store_shape(store, case_id))
    return {
        label.structure: read_label(store.objects, label.mask, shape)
        for label in release.case(case_id).labels
    }


def store_shape(store, case_id):
    with store.read() as connection:
        prediction = connection.execute(
            "SELECT prediction_id FROM current_predictions WHERE case_id = ?", [case_id]
        ).fetchone()[0]
        return manifest_grid(store, prediction, connection).ras_shape


def tree(root):
    """Relative path -> bytes of every file."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def ras(path):
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asanyarray(image.dataobj)


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_file_lies_on_the_cts_grid_bit_by_bit(make_annotated, tmp_path, layout, affine):
    made = make_annotated(affine=AFFINES[affine](), own_cts=True)
    source = nibabel.load(next((tmp_path / "cts").glob("*.nii.gz")))

    export(made.store, tmp_path / "out", ExportOptions(layout=layout))

    files = sorted((tmp_path / "out").rglob("*.nii.gz"))
    assert len(files) == (2 if layout in ("nnunet", "msd") else 5)
    for path in files:
        image = nibabel.load(path)
        assert np.array_equal(image.affine, source.affine)
        assert image.shape == source.shape


def test_abdomenatlas_holds_one_file_an_organ_and_a_combined_map(make_annotated, tmp_path):
    made = make_annotated()
    with_tumor(made)
    release = freeze_release(made.store)
    masks = masks_of(made.store, release, made.case_ids[0])

    export(made.store, tmp_path / "out", ExportOptions(layout="abdomenatlas"))

    case = tmp_path / "out" / made.case_ids[0]
    assert sorted(path.stem for path in (case / "segmentations").iterdir()) == [
        f"{name}.nii" for name in ("liver", "liver_tumor", "spleen", "stomach")
    ]
    for name, mask in masks.items():
        assert np.array_equal(ras(case / "segmentations" / f"{name}.nii.gz") > 0, mask)
    combined = ras(case / "combined_labels.nii.gz")
    # AbdomenAtlas 1.1: liver 5, stomach 9; the tumor's 27 is ours.
    assert np.array_equal(combined == 27, masks["liver_tumor"])
    assert np.array_equal(combined == 5, masks["liver"] & ~masks["liver_tumor"])
    assert set(np.unique(combined)) == {0, 5, 9, 27}


def test_totalsegmentator_spells_classes_its_own_way(make_annotated, tmp_path):
    made = make_annotated()
    correct(made, "postcava", ((2, 4), (2, 4), (2, 4)))

    export(made.store, tmp_path / "out", ExportOptions(layout="totalsegmentator"))

    case = tmp_path / "out" / made.case_ids[0]
    assert (case / "segmentations" / "inferior_vena_cava.nii.gz").is_file()
    assert ras(case / "segmentations" / "inferior_vena_cava.nii.gz").sum() == 8


def test_nnunet_dataset_json_counts_from_one_and_lists_no_failed_case(make_annotated, tmp_path):
    made = make_annotated(cases=2, own_cts=True)
    next((tmp_path / "cts").glob("scan 1*")).unlink()

    summary = export(made.store, tmp_path / "out", ExportOptions(layout="nnunet"))

    found = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert found["labels"] == {"background": 0, "spleen": 1, "liver": 2, "stomach": 3}
    assert (found["numTraining"], found["file_ending"]) == (1, ".nii.gz")
    assert found["channel_names"] == {"0": "CT"}
    assert [(case.case_id, case.reason) for case in summary.failed] == [
        (made.case_ids[1], "missing_file")
    ]
    with pytest.raises(SomeCasesFailedError):
        summary.raise_for_failures()
    (kept,) = made.case_ids[:1]
    assert (tmp_path / "out" / "imagesTr" / f"{kept}_0000.nii.gz").is_file()
    assert [path.name for path in (tmp_path / "out" / "labelsTr").iterdir()] == [f"{kept}.nii.gz"]


def test_msd_dataset_json_lists_pairs(make_annotated, tmp_path):
    made = make_annotated()

    export(made.store, tmp_path / "out", ExportOptions(layout="msd"))

    found = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert found["labels"] == {"0": "background", "1": "spleen", "2": "liver", "3": "stomach"}
    (pair,) = found["training"]
    assert (tmp_path / "out" / pair["image"]).is_file()
    assert (tmp_path / "out" / pair["label"]).is_file()


def test_precedence_decides_where_masks_overlap_and_is_stated(make_annotated, tmp_path):
    made = make_annotated()
    # Stomach is painted before the liver.
    correct(made, "stomach", ((2, 6), (2, 4), (2, 4)))
    correct(made, "liver", ((4, 8), (2, 4), (2, 4)))

    export(made.store, tmp_path / "out", ExportOptions(layout="nnunet"))

    combined = ras(tmp_path / "out" / "labelsTr" / f"{made.case_ids[0]}.nii.gz")
    assert combined[2:8, 2, 2].tolist() == [3, 3, 2, 2, 2, 2]
    found = json.loads((tmp_path / "out" / "label_map.json").read_text())
    assert found["precedence"] == ["stomach", "liver", "spleen"]
    side_car = json.loads(
        (tmp_path / "out" / "provenance" / f"{made.case_ids[0]}.json").read_text()
    )
    counts = {
        entry["structure"]: (entry["voxels"], entry["voxels_in_combined_map"])
        for entry in side_car["structures"]
    }
    assert counts == {"stomach": (16, 8), "liver": (16, 16), "spleen": (0, 0)}


def test_side_car_says_version_source_model_and_verdict(make_annotated, tmp_path):
    made = make_annotated()
    given = correct(made, "liver", ((10, 16), (8, 14), (6, 10)))
    judge(made, "absent", "spleen")
    prediction = made.prediction_id(made.case_ids[0])

    summary = export(made.store, tmp_path / "out", ExportOptions(layout="abdomenatlas"))

    side_car = json.loads((tmp_path / "out" / made.case_ids[0] / "provenance.json").read_text())
    found = {entry["structure"]: entry for entry in side_car["structures"]}
    assert found["liver"]["version"] == given.versions["liver"]
    assert found["liver"]["verdict"]["verdict"] == "correct"
    assert (found["liver"]["source"], found["liver"]["review"]) == ("reader:anna", "reviewed")
    assert (found["spleen"]["absent"], found["spleen"]["verdict"]["verdict"]) == (True, "absent")
    assert found["stomach"]["version"] == prediction
    assert found["stomach"]["source"] == f"committee:{made.committee_id}"
    assert (found["stomach"]["review"], found["stomach"]["verdict"]) == ("unreviewed", None)
    assert [member["name"] for member in side_car["committee"]["members"]] == ["a", "b"]
    assert side_car["release"]["release_id"] == summary.release_id
    heads = [line.line_hash for line in made.store.journal.lines()]
    assert side_car["release"]["journal_head"] in heads


def test_rejected_is_in_no_file_but_listed(make_annotated, tmp_path):
    made = make_annotated()
    judge(made, "reject", "stomach")

    summary = export(made.store, tmp_path / "out", ExportOptions(layout="abdomenatlas"))

    case = tmp_path / "out" / made.case_ids[0]
    assert not (case / "segmentations" / "stomach.nii.gz").exists()
    (left,) = json.loads((case / "provenance.json").read_text())["left_out"]
    assert (left["structure"], left["why"]) == ("stomach", "rejected")
    assert summary.left_out == 1


def test_reviewed_only_and_filters(make_annotated, tmp_path):
    made = make_annotated(cases=2)
    judge(made, "accept", "liver")
    judge(made, "accept", "stomach", case=1)

    reviewed = export(
        made.store, tmp_path / "a", ExportOptions(layout="abdomenatlas", reviewed_only=True)
    )
    chosen = export(
        made.store,
        tmp_path / "b",
        ExportOptions(
            layout="abdomenatlas", structures=("spleen",), cases=(made.case_ids[1],), ct="none"
        ),
    )

    assert (reviewed.structures, reviewed.unreviewed) == (("liver", "stomach"), 0)
    assert chosen.written == (made.case_ids[1],)
    assert sorted(path.name for path in (tmp_path / "b").rglob("*.nii.gz")) == [
        "combined_labels.nii.gz",
        "spleen.nii.gz",
    ]


def test_unknown_case_and_structure_are_refused_before_anything_is_written(
    make_annotated, tmp_path
):
    made = make_annotated()

    for options in (
        ExportOptions(layout="msd", cases=("c-none",)),
        ExportOptions(layout="msd", structures=("nose",)),
        ExportOptions(layout="msd", structures=("aorta",)),
        ExportOptions(layout="msd", release="r-000000000000"),
    ):
        with pytest.raises(UsageError):
            export(made.store, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_second_run_keeps_what_is_complete_and_mends_what_is_not(make_annotated, tmp_path):
    made = make_annotated(cases=2)
    options = ExportOptions(layout="abdomenatlas")
    export(made.store, tmp_path / "out", options)
    before = tree(tmp_path / "out")
    damaged = tmp_path / "out" / made.case_ids[1] / "segmentations" / "liver.nii.gz"
    content = bytearray(damaged.read_bytes())
    content[-9] ^= 1
    damaged.write_bytes(content)

    again = export(made.store, tmp_path / "out", options)

    assert (again.kept, again.written) == ((made.case_ids[0],), (made.case_ids[1],))
    assert tree(tmp_path / "out") == before


def test_a_folder_never_holds_two_releases_or_layouts(make_annotated, tmp_path):
    made = make_annotated()
    first = export(made.store, tmp_path / "out", ExportOptions(layout="msd"))
    before = tree(tmp_path / "out")

    with pytest.raises(UsageError, match="layout"):
        export(made.store, tmp_path / "out", ExportOptions(layout="nnunet"))
    judge(made, "accept", "liver")
    with pytest.raises(UsageError, match=f"--release {first.release_id}"):
        export(made.store, tmp_path / "out", ExportOptions(layout="msd"))
    kept = export(
        made.store, tmp_path / "out", ExportOptions(layout="msd", release=first.release_id)
    )

    assert kept.written == ()
    assert tree(tmp_path / "out") == before


def test_a_foreign_folder_is_refused_and_left_alone(make_annotated, tmp_path):
    made = make_annotated()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".work.partial").write_text("keep me")

    with pytest.raises(UsageError, match="new or empty"):
        export(made.store, tmp_path / "mine", ExportOptions(layout="msd"))

    assert tree(tmp_path / "mine") == {".work.partial": b"keep me"}


@pytest.mark.parametrize("ct", ["copy", "link"])
def test_a_changed_ct_fails_its_case_alone(make_annotated, tmp_path, ct):
    made = make_annotated(cases=2, own_cts=True)
    path = tmp_path / "cts" / "scan 0.nii.gz"
    image = nibabel.load(path)
    voxels = np.asanyarray(image.dataobj).copy()
    voxels[5, 5, 5] += 1
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)

    summary = export(made.store, tmp_path / "out", ExportOptions(layout="abdomenatlas", ct=ct))

    assert [(case.case_id, case.reason) for case in summary.failed] == [
        (made.case_ids[0], "changed_file")
    ]
    assert summary.written == (made.case_ids[1],)
    assert not list((tmp_path / "out").rglob("*.partial"))
    assert not (tmp_path / "out" / made.case_ids[0] / "ct.nii.gz").exists()


def test_a_link_stands_only_for_a_packed_source(make_annotated, tmp_path):
    made = make_annotated(cases=2)
    out = tmp_path / "out"

    export(made.store, out, ExportOptions(layout="abdomenatlas", ct="link"))

    for case_id in made.case_ids:
        assert (out / case_id / "ct.nii.gz").is_symlink()
    again = export(made.store, out, ExportOptions(layout="abdomenatlas", ct="link"))
    assert again.written == ()


PATIENT = b"Mustermann"


def leaky_ct(path, affine, *, packed):
    """A CT whose header, extension and gzip name a patient."""
    rng = np.random.default_rng(3)
    voxels = np.full((20, 18, 16), -1000, np.float64)
    voxels[3:17, 3:15] = rng.normal(40, 30, (14, 12, 16))
    voxels[3:5, 3:15] = -100
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(np.rint(voxels).astype(">i2"), affine, header)
    image.header["descrip"] = image.header["aux_file"] = image.header["db_name"] = PATIENT
    image.set_data_dtype(np.int16)
    image.header.set_slope_inter(2, -6)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", PATIENT * 20))
    data = image.to_bytes()
    assert PATIENT in data
    if packed:
        with path.open("wb") as file, gzip.GzipFile(f"{PATIENT.decode()}.nii", "wb", 6, file) as z:
            z.write(data)
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("packed", [True, False])
def test_a_copied_ct_has_the_same_voxels_and_no_name(tmp_path, packed):
    path = tmp_path / f"ct.nii{'.gz' * packed}"
    leaky_ct(path, oblique_affine(), packed=packed)
    record = inspect_file(path)

    folder = ExportFolder(tmp_path / "out")
    source = CaseFile(path, record.file_sha256)
    folder.write("ct.nii.gz", lambda file: copy_ct(file, source, Volume.open(path)))

    copied = tmp_path / "out" / "ct.nii.gz"
    assert inspect_file(copied).content_id == record.content_id
    assert inspect_file(copied).grid == record.grid
    assert np.array_equal(
        np.asanyarray(nibabel.load(copied).dataobj.get_unscaled()),
        np.asanyarray(nibabel.load(path).dataobj.get_unscaled()),
    )
    assert nibabel.load(copied).get_data_dtype() == np.dtype(">i2")
    assert PATIENT not in copied.read_bytes()
    assert PATIENT not in gzip.decompress(copied.read_bytes())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_exported_file_names_a_path_or_patient(make_annotated, tmp_path, layout):
    made = make_annotated(own_cts=True)

    export(made.store, tmp_path / "out", ExportOptions(layout=layout))

    for path, data in tree(tmp_path / "out").items():
        content = gzip.decompress(data) if path.endswith(".gz") else data
        for secret in (str(tmp_path), "scan 0", "annotated workspace"):
            assert secret.encode() not in content
            assert secret not in path


KILLED = """
import os, signal, sys
from pathlib import Path
from flows.export import ExportOptions, export
from storage import export_folder
from storage.store import Store

root, out, layout, at = sys.argv[1:]
writes = [0]
plain_write = export_folder._Hashing.write

def write(self, data):
    writes[0] += 1
    if writes[0] == int(at):
        self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return plain_write(self, data)

export_folder._Hashing.write = write
export(Store.open(Path(root)), Path(out), ExportOptions(layout=layout))
print(writes[0])
"""


def killed_export(made, out, layout, at):
    """Run an export in a process that kills itself at its n-th write."""
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(made.store.workspace.root), str(out), layout, str(at)],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.parametrize("layout", ["abdomenatlas", "nnunet"])
def test_killed_exports_end_as_an_undisturbed_one(make_annotated, tmp_path, layout):
    made = make_annotated(cases=2)
    options = ExportOptions(layout=layout)
    export(made.store, tmp_path / "whole", options)

    for at in (1, 2, 9, 23):
        killed = killed_export(made, tmp_path / "out", layout, at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    export(made.store, tmp_path / "out", options)

    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert (tmp_path / "out" / MARKER).is_file()
