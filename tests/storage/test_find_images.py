"""Which files of a folder are taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import Reason, UsageError
from storage.find_images import FoundImages, find_images


def make(root: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def taken(root: Path, found: FoundImages) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.images]


def test_folders_are_searched_at_any_depth_and_sorted(tmp_path: Path) -> None:
    make(tmp_path, "b/ct.nii.gz", "a.NII", "b/c/d.Nii.Gz", "z.nii", "b/readme.txt")

    found = find_images([tmp_path])

    assert taken(tmp_path, found) == ["a.NII", "b/c/d.Nii.Gz", "b/ct.nii.gz", "z.nii"]
    assert [(s.path.name, s.why) for s in found.skipped] == [
        ("readme.txt", "not a .nii or .nii.gz file")
    ]


def test_hidden_names_are_passed_over_without_a_word(tmp_path: Path) -> None:
    make(tmp_path, ".truth/ct.nii.gz", "._ct.nii.gz", "__MACOSX/ct.nii.gz", "ct.nii.gz")

    found = find_images([tmp_path])

    assert taken(tmp_path, found) == ["ct.nii.gz"]
    assert found.skipped == ()


@pytest.mark.parametrize(
    "folder", ["segmentations", "labels", "labelsTr", "Masks", "labels_v2", "segmentation", "mask"]
)
def test_folders_of_labels_are_skipped_and_listed(tmp_path: Path, folder: str) -> None:
    make(tmp_path, "case1/ct.nii.gz", f"case1/{folder}/liver.nii.gz")

    found = find_images([tmp_path])

    assert taken(tmp_path, found) == ["case1/ct.nii.gz"]
    assert [s.path.name for s in found.skipped] == [folder]


@pytest.mark.parametrize("folder", ["imagesTr", "unlabeled", "masked", "labelled_cases"])
def test_other_folders_are_searched(tmp_path: Path, folder: str) -> None:
    make(tmp_path, f"{folder}/ct.nii.gz")

    assert len(find_images([tmp_path]).images) == 1


@pytest.mark.parametrize(
    "name", ["combined_labels.nii.gz", "ct_seg.nii", "ct-mask.nii.gz", "Segmentation.nii.gz"]
)
def test_a_label_file_is_skipped_only_beside_a_ct(tmp_path: Path, name: str) -> None:
    make(tmp_path, f"beside/{name}", "beside/ct.nii.gz", f"alone/{name}")

    found = find_images([tmp_path])

    assert taken(tmp_path, found) == [f"alone/{name}", "beside/ct.nii.gz"]
    assert [s.path.parent.name for s in found.skipped] == ["beside"]


def test_whatever_is_named_itself_is_taken_once(tmp_path: Path) -> None:
    make(tmp_path, "ct.nii.gz", "labels/mask.nii.gz", "odd.txt")

    found = find_images(
        [
            tmp_path / "labels" / "mask.nii.gz",
            tmp_path / "odd.txt",
            tmp_path / "ct.nii.gz",
            tmp_path,
            tmp_path / "labels",
        ]
    )

    assert taken(tmp_path, found) == ["ct.nii.gz", "labels/mask.nii.gz", "odd.txt"]


def test_dicom_is_refused_once_per_folder(tmp_path: Path) -> None:
    make(tmp_path, *(f"series/{n}.dcm" for n in range(20)))
    make(tmp_path, "pacs/IM0001", "pacs/1.2.840.77", content=bytes(128) + b"DICM")
    make(tmp_path, "pacs/IM0002", content=b"no DICOM")

    found = find_images([tmp_path])

    assert [path.name for path, _ in found.refused] == ["pacs", "series"]
    assert {error.reason for _, error in found.refused} == {Reason.DICOM_UNSUPPORTED}
    assert [s.path.name for s in found.skipped] == ["IM0002"]
    assert found.images == ()


def test_loops_of_links_end(tmp_path: Path) -> None:
    make(tmp_path, "a/ct.nii.gz")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again.nii.gz").symlink_to(tmp_path / "a" / "ct.nii.gz")
    (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)

    assert len(find_images([tmp_path]).images) == 1


def test_linked_folders_outside_are_searched(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/ct.nii.gz", "root/own.nii.gz")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    assert taken(tmp_path, find_images([tmp_path / "root"])) == [
        "root/link/ct.nii.gz",
        "root/own.nii.gz",
    ]


def test_a_path_that_does_not_exist_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must exist"):
        find_images([tmp_path / "gone"])


def test_the_real_folder_holds_these_cts_and_labels(real_data: Path) -> None:
    found = find_images([real_data / "ct", real_data / "bad" / "grid_mismatch"])

    assert sum(path.name == "ct.nii.gz" for path in found.images) == 4
    assert [s.path.name for s in found.skipped] == ["mask.nii.gz"]
