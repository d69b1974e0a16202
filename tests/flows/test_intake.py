import numpy as np
import pytest

from configs.errors import ConfigError, Reason, SomeCasesFailedError, UsageError
from configs.settings import load_settings
from flows.intake import intake
from flows.reports import print_intake
from flows.status import status
from storage.case_image import load_case
from storage.cases import Registration, all_cases
from storage.ct_blocks import CtBlocks
from storage.store import Store
from storage.verify import verify


def cases_of(store):
    with store.read() as connection:
        return all_cases(connection)


def test_a_folder_of_cts_becomes_cases(empty_store, write_ct, tmp_path):
    write_ct(tmp_path / "cts" / "a.nii.gz", seed=1)
    write_ct(tmp_path / "cts" / "deep" / "b.nii", seed=2)

    summary = intake(empty_store, [tmp_path / "cts"])

    assert summary.count(Registration.NEW) == 2
    assert [case.case_id for case in cases_of(empty_store)] == [f.case_id for f in summary.taken]
    assert verify(empty_store).findings == ()


def test_second_intake_changes_nothing(empty_store, write_ct, tmp_path):
    write_ct(tmp_path / "cts" / "a.nii.gz", seed=1)
    intake(empty_store, [tmp_path / "cts"])
    lines = len(list(empty_store.journal.lines()))

    summary = intake(empty_store, [tmp_path / "cts"])

    assert summary.count(Registration.KNOWN) == 1
    assert len(list(empty_store.journal.lines())) == lines + 1, "only the run itself"


def test_same_scan_in_another_axis_order_is_a_duplicate(empty_store, write_ct, tmp_path):
    import nibabel

    first = write_ct(tmp_path / "a.nii.gz", seed=1)
    flipped = nibabel.load(first).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nibabel.save(flipped, tmp_path / "b.nii")

    summary = intake(empty_store, [tmp_path])

    assert summary.count(Registration.DUPLICATE) == 1
    (case,) = cases_of(empty_store)
    assert len(case.files) == 2


def test_bad_file_is_quarantined_and_the_rest_goes_on(empty_store, write_ct, tmp_path):
    (tmp_path / "cts").mkdir()
    (tmp_path / "cts" / "a.nii.gz").write_text("no image")
    write_ct(tmp_path / "cts" / "b.nii.gz", seed=2)

    summary = intake(empty_store, [tmp_path / "cts"])

    assert [file.reason for file in summary.refused] == [Reason.NOT_AN_IMAGE]
    assert summary.count(Registration.NEW) == 1
    with pytest.raises(SomeCasesFailedError):
        summary.raise_for_refusals()
    assert status(empty_store).quarantined[0].reason == "not_an_image"


def test_journal_and_log_hold_no_path(empty_store, write_ct, tmp_path):
    write_ct(tmp_path / "DOE_JOHN" / "a.nii.gz", seed=1)
    (tmp_path / "DOE_JOHN" / "bad.nii.gz").write_text("no image")

    intake(empty_store, [tmp_path / "DOE_JOHN"])

    written = empty_store.journal.path.read_text()
    for log in empty_store.workspace.runs_path.iterdir():
        written += log.read_text()
    assert "DOE_JOHN" not in written
    assert "bad.nii" not in written


def test_missing_path_is_a_usage_error(empty_store, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        intake(empty_store, [tmp_path / "nowhere"])


def test_empty_folder_is_a_usage_error(empty_store, tmp_path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=r"no \.nii"):
        intake(empty_store, [tmp_path / "empty"])


def test_unknown_patients_are_warned_about(empty_store, write_ct, tmp_path):
    write_ct(tmp_path / "a.nii.gz", seed=1)

    summary = intake(empty_store, [tmp_path / "a.nii.gz"])

    assert any("name no patient" in text for text in summary.warnings)


def test_csv_ties_scans_to_one_pseudonymous_patient(empty_store, write_ct, tmp_path):
    write_ct(tmp_path / "a.nii.gz", seed=1)
    write_ct(tmp_path / "b.nii.gz", seed=2)
    csv = tmp_path / "patients.csv"
    csv.write_text("path,patient\na.nii.gz,John Doe\nb.nii.gz,John Doe\nc.nii.gz,Other\n")

    summary = intake(empty_store, [tmp_path], patients_csv=csv)

    patients = {case.patient_id for case in cases_of(empty_store)}
    assert len(patients) == 1
    assert patients.pop().startswith("p-")
    assert any("1 rows of the patients CSV met no file" in text for text in summary.warnings)
    assert "John" not in empty_store.journal.path.read_text()


def test_later_csv_replaces_the_made_up_patient(empty_store, write_ct, tmp_path):
    write_ct(tmp_path / "a.nii.gz", seed=1)
    intake(empty_store, [tmp_path / "a.nii.gz"])
    before = cases_of(empty_store)[0].patient_id
    csv = tmp_path / "patients.csv"
    csv.write_text(f"path,patient\n{tmp_path / 'a.nii.gz'},P1\n")

    intake(empty_store, [tmp_path / "a.nii.gz"], patients_csv=csv)
    intake(empty_store, [tmp_path / "a.nii.gz"])

    assert cases_of(empty_store)[0].patient_id != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,patient\na,b\n", "columns path and patient"),
        ("path,patient\na.nii,\n", "line 2"),
        ("path,patient\na.nii,x\na.nii,y\n", "another patient"),
    ],
)
def test_bad_csv_is_a_usage_error(empty_store, write_ct, tmp_path, text, message):
    write_ct(tmp_path / "a.nii.gz", seed=1)
    csv = tmp_path / "patients.csv"
    csv.write_text(text)

    with pytest.raises(UsageError, match=message):
        intake(empty_store, [tmp_path / "a.nii.gz"], patients_csv=csv)


@pytest.mark.parametrize(("pattern", "message"), [("(", "no regular"), ("P[0-9]+", "a group")])
def test_bad_patient_pattern_is_a_config_error(store, write_ct, tmp_path, pattern, message):
    write_ct(tmp_path / "a.nii.gz", seed=1)
    settings = store.settings.model_copy(
        update={"intake": store.settings.intake.model_copy(update={"patient_pattern": pattern})}
    )

    with pytest.raises(ConfigError, match=message):
        intake(Store.open(store.workspace.root, settings), [tmp_path / "a.nii.gz"])


def test_pattern_over_the_path_names_the_patient(store, write_ct, tmp_path):
    write_ct(tmp_path / "P7" / "one.nii.gz", seed=1)
    write_ct(tmp_path / "P7" / "two.nii.gz", seed=2)
    settings = store.settings.model_copy(
        update={
            "intake": store.settings.intake.model_copy(update={"patient_pattern": "/(P[0-9]+)/"})
        }
    )

    intake(Store.open(store.workspace.root, settings), [tmp_path / "P7"])

    assert len({case.patient_id for case in cases_of(store)}) == 1


def regions(store, **review):
    settings = load_settings(store.workspace.settings_path, {"review": review}).settings
    return Store.open(store.workspace.root, settings)


def test_cts_are_laid_in_blocks_while_there_is_room(empty_store, write_ct, tmp_path, capsys):
    for seed in (1, 2):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)

    summary = intake(regions(empty_store, region_cache_gb=1e-9), [tmp_path / "cts" / "1.nii.gz"])
    assert (summary.blocks.cts, summary.blocks.left) == (0, 1)
    summary = intake(empty_store, [tmp_path / "cts"])
    print_intake(summary)

    (*files,) = empty_store.workspace.regions_path.iterdir()
    case = cases_of(empty_store)[0]
    ct = load_case(case, empty_store.settings.intake)
    box = tuple((0, length) for length in ct.grid.ras_shape)
    kept = CtBlocks.open(empty_store.workspace.regions_path / f"{case.content_id}.blocks")
    np.testing.assert_array_equal(kept.region(box), ct.hu_ras)
    assert (summary.blocks.cts, summary.blocks.left) == (2, 0)
    assert summary.blocks.total_bytes == sum(path.stat().st_size for path in files)
    assert "laid in blocks for the editor: 2 CTs" in capsys.readouterr().out


@pytest.mark.parametrize("is_wanted", [True, False])
def test_blocks_that_are_not_wanted_or_cannot_be_written_hinder_no_intake(
    empty_store, write_ct, tmp_path, is_wanted
):
    write_ct(tmp_path / "cts" / "a.nii.gz", seed=1)
    cache = empty_store.workspace.regions_path.parent
    if is_wanted:
        cache.write_text("in the way")

    store = regions(empty_store, blocks_at_intake=is_wanted)
    summary = intake(store, [tmp_path / "cts"])

    assert summary.count(Registration.NEW) == 1
    assert (summary.refused, summary.blocks.cts) == ((), 0)
    assert not empty_store.workspace.regions_path.exists()
