import pytest

from configs.connectors import load_dataset, load_datasets
from configs.errors import UsageError
from storage.dataset_files import find_dataset_files, fitting_datasets


@pytest.fixture
def lay(tmp_path):
    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return make


def names(found):
    return [(case.name, case.number, case.has_labels) for case in found.cases]


def test_cases_are_paired_by_number_and_sorted(lay):
    folder = lay(
        "images/FLARE22_Tr_0010_0000.nii.gz",
        "images/FLARE22_Tr_0009_0000.nii.gz",
        "labels/FLARE22_Tr_0009.nii.gz",
        "labels/FLARE22_Tr_0010.nii.gz",
        "labels/FLARE22_Tr_0011.nii.gz",
    )

    found = find_dataset_files(folder, load_dataset("flare22"))

    assert names(found) == [("9", 9, True), ("10", 10, True)]
    assert found.cases[1].combined == folder / "labels" / "FLARE22_Tr_0010.nii.gz"
    assert found.without_ct == 1


@pytest.mark.parametrize("start", ["", "Task09_Spleen"])
def test_any_outer_folder_will_do(lay, start):
    folder = lay("Task09_Spleen/imagesTr/spleen_2.nii.gz", "Task09_Spleen/labelsTr/spleen_2.nii.gz")

    assert names(find_dataset_files(folder / start, load_dataset("msd_task09_spleen"))) == [
        ("2", 2, True)
    ]


def test_hidden_copies_are_passed_over(lay):
    folder = lay(
        "imagesTr/spleen_2.nii.gz",
        "imagesTr/._spleen_2.nii.gz",
        "labelsTr/spleen_2.nii.gz",
        "labelsTr/._spleen_2.nii.gz",
        "__MACOSX/imagesTr/spleen_3.nii.gz",
    )

    assert len(find_dataset_files(folder, load_dataset("msd_task09_spleen")).cases) == 1


def test_unpacked_files_count_like_packed_ones(lay):
    folder = lay("batch1/volume-0.nii", "batch2/volume-1.nii", "batch1/segmentation-0.nii.gz")

    found = find_dataset_files(folder, load_dataset("lits"))

    assert names(found) == [("0", 0, True), ("1", 1, False)]


def test_two_cts_of_one_case_are_ambiguous(lay):
    folder = lay(
        "AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz",
        "AbdomenCT-1K-ImagePart2/Case_00001_0000.nii.gz",
        "AbdomenCT-1K-ImagePart2/Case_00400_0000.nii.gz",
        "Mask/Case_00001.nii.gz",
        "Mask/Case_00400.nii.gz",
    )

    found = find_dataset_files(folder, load_dataset("abdomenct_1k"))

    assert found.ambiguous == ("1",)
    assert names(found) == [("400", 400, True)]


def test_both_forms_of_a_name_make_it_ambiguous(lay):
    folder = lay("imagesTr/lung_1.nii", "imagesTr/lung_1.nii.gz", "labelsTr/lung_1.nii.gz")

    assert find_dataset_files(folder, load_dataset("msd_task06_lung")).ambiguous == ("1",)


def test_files_by_structure_come_before_a_flat_map(lay):
    folder = lay(
        "BDMAP_00000001/ct.nii.gz",
        "BDMAP_00000001/combined_labels.nii.gz",
        "BDMAP_00000001/segmentations/liver.nii.gz",
    )

    (case,) = find_dataset_files(folder, load_dataset("abdomenatlas_1_0_mini")).cases

    assert (set(case.masks), case.combined) == ({"liver"}, None)


def test_the_subject_stands_twice_in_a_path_of_verse(lay):
    folder = lay(
        "dataset-01training/rawdata/sub-verse004/sub-verse004_dir-ax_ct.nii.gz",
        "dataset-01training/derivatives/sub-verse004/sub-verse004_dir-ax_seg-vert_msk.nii.gz",
    )

    (case,) = find_dataset_files(folder, load_dataset("verse")).cases

    assert (case.name, case.number, case.has_labels) == (
        "sub-verse004/sub-verse004_dir-ax",
        None,
        True,
    )


def test_another_layout_is_refused_with_what_it_looks_like(lay):
    folder = lay("images/FLARE22_Tr_0010_0000.nii.gz", "labels/FLARE22_Tr_0010.nii.gz")

    with pytest.raises(UsageError) as caught:
        find_dataset_files(folder, load_dataset("abdomenct_12organ"))

    said = str(caught.value)
    assert "CTs of abdomenct_12organ lie as img/Organ12_{id:04d}_0000.nii.gz" in said
    assert "2 NIfTI files such as images/FLARE22_Tr_0010_0000.nii.gz" in said
    assert "this is the layout of flare22" in said


def test_an_empty_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no NIfTI file"):
        find_dataset_files(tmp_path, load_dataset("word"))
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(UsageError, match="lies in a folder"):
        find_dataset_files(tmp_path / "a.nii.gz", load_dataset("word"))


def test_cts_without_any_label_are_refused(lay):
    folder = lay("images/FLARE22_Tr_0010_0000.nii.gz", "masks/FLARE22_Tr_0010.nii.gz")

    with pytest.raises(UsageError, match=r"labels of flare22 lie as labels/.*none of its 1 CTs"):
        find_dataset_files(folder, load_dataset("flare22"))


def test_names_tell_twelve_organs_from_flare22():
    assert fitting_datasets(["img/Organ12_0001_0000.nii.gz"]) == ("abdomenct_12organ",)
    assert fitting_datasets(["images/FLARE22_Tr_0001_0000.nii.gz"]) == ("flare22",)
    assert fitting_datasets(["thesis/figure.nii.gz"]) == ()


def test_every_layout_has_one_case_key_that_labels_share():
    for dataset in load_datasets().values():
        for layout in dataset.layouts:
            fields = [
                {name for name in ("{id", "{name}") if name in text}
                for text in (layout.image, layout.label)
            ]
            assert fields[0], dataset.id
            assert fields[0] == fields[1], dataset.id
