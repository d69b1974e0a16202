from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import ModelError, Reason, UsageError
from flows.intake import intake
from flows.training_cases import TrainingSources
from flows.training_data import training_data
from model.inference_settings import InferenceSettings
from model.training_patches import patch_sampler
from model.training_samples import (
    PreparedSample,
    TrainingSample,
    prepare_sample,
    unpack_labels,
)
from storage.cases import all_cases
from storage.cohort import CaseRecord, Cohort, begin_cohort, finish_cohort, write_case
from storage.intake_record import inspect_file
from storage.labels import ABSENT, version_json
from storage.sample_cache import SampleCache
from storage.splits import Role, freeze_roles
from storage.store import Store

STRUCTURES = ("spleen", "liver", "stomach", "liver_tumor")
SHAPE = (20, 18, 16)
INFERENCE = InferenceSettings(spacing_mm=(3.0, 3.0, 3.0), patch=(12, 12, 12))


@pytest.fixture
def cache(tmp_path: Path) -> SampleCache:
    return SampleCache(tmp_path / "cache")


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """Two sites: oak annotates liver and its tumor, which only one case has; elm the spleen."""
    out = tmp_path / "cohort"
    begin_cohort(out, seed=3, sites_digest="abc")
    plan = [("oak", "oak_0"), ("oak", "oak_1"), ("elm", "elm_0")]
    for number, (site, case) in enumerate(plan):
        annotated = ("liver", "liver_tumor") if site == "oak" else ("spleen",)
        masks = {name: np.zeros(SHAPE, bool) for name in annotated}
        masks[annotated[0]][4:12, 5:12, 3:9] = True
        if case == "oak_1":
            masks["liver_tumor"][6:8, 7:9, 4:6] = True
        record = CaseRecord(
            site=site,
            role="train",
            case=case,
            patient=f"p-{number}",
            seed=number,
            annotated=annotated,
            facts={},
            lesions=(),
        )
        hu = np.random.default_rng(number).normal(40, 60, SHAPE).astype(np.int16)
        write_case(out, record, hu=hu, spacing_mm=(2.0, 2.0, 3.0), masks=masks)
    return finish_cohort(out, seed=3, cases=plan)


def equal(first: PreparedSample, second: PreparedSample) -> bool:
    return (
        all(
            torch.equal(getattr(first, name), getattr(second, name))
            for name in ("image", "labels", "annotated")
        )
        and first.centres.keys() == second.centres.keys()
        and all(torch.equal(first.centres[n], second.centres[n]) for n in first.centres)
    )


def give_roles(store: Store, *roles: Role) -> None:
    """Give the patients of the cases, in order, these roles; all the same where one is given."""
    with store.read() as connection:
        patients = [case.patient_id for case in all_cases(connection)]
    given = roles * len(patients) if len(roles) == 1 else roles
    freeze_roles(store, dict(zip(patients, given, strict=False)))


def files(cache: SampleCache) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in cache.root.rglob("*.sample")}


def test_a_cohort_becomes_samples_that_equal_those_prepared_in_memory(
    cohort: Cohort, cache: SampleCache
) -> None:
    data = training_data(
        TrainingSources(cohort_cases=cohort.cases), STRUCTURES, INFERENCE, cache=cache
    )

    assert [(case.dataset, case.name) for case in data.cases] == [
        ("elm", "elm_0"),
        ("oak", "oak_0"),
        ("oak", "oak_1"),
    ]
    assert data.cases_by_dataset == {"elm": 1, "oak": 2}
    assert data.sources("liver_tumor") == ("oak",)
    assert [sample.dataset for sample in data.samples] == ["elm", "oak", "oak"]
    for sample, name in zip(data.samples, ("elm_0", "oak_0", "oak_1"), strict=True):
        (case,) = (case for case in cohort.cases if case.case == name)
        hu, spacing_mm = case.read_hu()
        direct = prepare_sample(
            TrainingSample(hu, spacing_mm, case.read_labels()),
            STRUCTURES,
            INFERENCE,
            generator=torch.Generator(),
            device=torch.device("cpu"),
        )
        assert torch.equal(sample.image, direct.image)
        assert torch.equal(sample.labels, direct.labels)
        assert sample.annotated.tolist() == direct.annotated.tolist()
        assert {n: len(v) for n, v in sample.centres.items()} == {
            n: len(v) for n, v in direct.centres.items()
        }
        masks = unpack_labels(sample.labels, torch.arange(len(sample.annotated)))
        for position, number in enumerate(sample.annotated.tolist()):
            for voxel in sample.centres.get(number, ()):
                assert masks[(position, *voxel.tolist())]


def test_the_second_time_nothing_is_made(cohort: Cohort, cache: SampleCache) -> None:
    sources = TrainingSources(cohort_cases=cohort.cases)
    first = training_data(sources, STRUCTURES, INFERENCE, cache=cache)
    before = files(cache)
    # Still there where the CT is gone: only its hash is asked for.
    again = training_data(sources, STRUCTURES, INFERENCE, cache=cache, workers=2)

    assert (first.made, again.made) == (3, 0)
    assert files(cache) == before
    assert all(map(equal, first.samples, again.samples))
    assert again.file_bytes == sum(path.stat().st_size for path in before)


def test_a_damaged_file_is_made_again_as_it_was(cohort: Cohort, cache: SampleCache) -> None:
    sources = TrainingSources(cohort_cases=cohort.cases)
    training_data(sources, STRUCTURES, INFERENCE, cache=cache)
    whole = {path: path.read_bytes() for path in files(cache)}
    cut, altered, _ = whole
    cut.write_bytes(whole[cut][:5000])
    altered.write_bytes(whole[altered][:5000] + b"\x77" + whole[altered][5001:])

    data = training_data(sources, STRUCTURES, INFERENCE, cache=cache)

    assert data.made == 2
    assert {path: path.read_bytes() for path in files(cache)} == whole


@pytest.mark.parametrize(
    ("structures", "inference"),
    [
        (STRUCTURES[:3], INFERENCE),
        (STRUCTURES, InferenceSettings(spacing_mm=(3.0, 3.0, 4.0))),
        (STRUCTURES, InferenceSettings(spacing_mm=(3.0, 3.0, 3.0), hu_window=(-100.0, 240.0))),
    ],
)
def test_what_decides_on_a_sample_decides_on_its_file(
    cohort: Cohort, cache: SampleCache, structures: tuple[str, ...], inference: InferenceSettings
) -> None:
    sources = TrainingSources(cohort_cases=cohort.cases)
    training_data(sources, STRUCTURES, INFERENCE, cache=cache)

    assert training_data(sources, structures, inference, cache=cache).made == 3


def test_the_patch_size_does_not(cohort: Cohort, cache: SampleCache) -> None:
    sources = TrainingSources(cohort_cases=cohort.cases)
    training_data(sources, STRUCTURES, INFERENCE, cache=cache)
    larger = InferenceSettings(spacing_mm=INFERENCE.spacing_mm, patch=(16, 16, 16))

    assert training_data(sources, STRUCTURES, larger, cache=cache).made == 0


def test_another_label_makes_another_file(cohort: Cohort, cache: SampleCache) -> None:
    sources = TrainingSources(cohort_cases=cohort.cases)
    training_data(sources, STRUCTURES, INFERENCE, cache=cache)
    case = cohort.cases[0]
    case.label_path("liver").unlink()

    data = training_data(sources, STRUCTURES, INFERENCE, cache=cache)

    assert data.made == 1
    oak = data.samples[1]
    assert oak.annotated.tolist() == [1, 3]
    assert oak.centres == {}


def test_cases_without_a_label_to_learn_are_left_out(cohort: Cohort, cache: SampleCache) -> None:
    sources = TrainingSources(cohort_cases=cohort.cases)

    data = training_data(sources, ("spleen",), INFERENCE, cache=cache)

    assert [case.name for case in data.cases] == ["elm_0"]
    with pytest.raises(ModelError, match="at least one case with a label"):
        training_data(sources, ("stomach",), INFERENCE, cache=cache)


def test_a_workspace_gives_human_labels_before_a_datasets(
    make_annotated, make_readings, cache: SampleCache
) -> None:
    made = make_annotated(cases=3)
    readings = make_readings(made)
    one, two, three = made.case_ids
    ball = readings.ball(one, centre=0.3, radius=0.4)
    readings.import_label(one, "liver", ABSENT)
    readings.import_label(one, "spleen", ABSENT)
    readings.review(one, "liver", "correct", mask=ball)
    readings.review(two, "stomach", "accept")
    readings.review(three, "stomach", "reject")
    give_roles(made.store, "train")

    data = training_data(TrainingSources(store=made.store), STRUCTURES, INFERENCE, cache=cache)

    found = {case.name: (case.dataset, case.annotated) for case in data.cases}
    assert found == {one: ("flare", ("spleen", "liver")), two: ("review", ("stomach",))}
    sample = data.samples[[case.name for case in data.cases].index(one)]
    assert sample.annotated.tolist() == [0, 1]
    assert list(sample.centres) == [1]
    voxel_ml = 27 / 1000
    mask = unpack_labels(sample.labels, torch.tensor([1]))
    native_ml = ball.voxels * 3 * 3 * 5 / 1000
    assert float(mask.sum()) * voxel_ml == pytest.approx(native_ml, rel=0.05)


def test_weak_labels_of_a_dataset_train_nothing(
    make_annotated, make_readings, cache: SampleCache
) -> None:
    made = make_annotated(cases=1)
    (one,) = made.case_ids
    make_readings(made).import_label(one, "spleen", ABSENT)
    with made.store.transaction() as transaction:
        transaction.record(
            "labels.imported",
            {
                "case_id": one,
                "dataset": "ct_org",
                "versions": [version_json("liver", ABSENT, parent=None)],
                "weak": ["liver"],
            },
        )
    give_roles(made.store, "train")

    data = training_data(TrainingSources(store=made.store), STRUCTURES, INFERENCE, cache=cache)

    assert [case.annotated for case in data.cases] == [("spleen",)]
    assert [sample.case_id for sample in data.samples] == [one]


def test_only_patients_of_the_role_train_do(
    make_annotated, make_readings, cache: SampleCache
) -> None:
    made = make_annotated(cases=3)
    readings = make_readings(made)
    for case_id in made.case_ids:
        readings.import_label(case_id, "spleen", ABSENT)
    sources = TrainingSources(store=made.store)
    with pytest.raises(ModelError, match="at least one case with a label"):
        training_data(sources, STRUCTURES, INFERENCE, cache=cache)

    give_roles(made.store, "train", "gate")
    data = training_data(sources, STRUCTURES, INFERENCE, cache=cache)

    with made.store.read() as connection:
        first = all_cases(connection)[0]
    assert [case.name for case in data.cases] == [first.case_id]
    assert [case.patient for case in data.cases] == [first.patient_id]


def test_a_cohort_with_a_scan_of_a_frozen_patient_is_refused(
    empty_store, cohort: Cohort, cache: SampleCache
) -> None:
    intake(empty_store, [cohort.cases[2].ct_path])
    case_id = inspect_file(cohort.cases[2].ct_path).case_id
    with empty_store.read() as connection:
        (patient,) = connection.execute("SELECT patient_id FROM current_patients").fetchone()
    freeze_roles(empty_store, {patient: "gate"})
    sources = TrainingSources(store=empty_store, cohort_cases=cohort.cases)

    # The first time the CT is read, the second time it comes from the cache.
    for _ in range(2):
        with pytest.raises(UsageError, match=f"elm_0 is a scan of {case_id}"):
            training_data(sources, STRUCTURES, INFERENCE, cache=cache)


def test_a_case_whose_ct_was_changed_is_left_out_and_named(changed_ct, cache: SampleCache) -> None:
    sources = TrainingSources(store=changed_ct.store)

    data = training_data(sources, STRUCTURES, INFERENCE, cache=cache)

    assert [case.name for case in data.cases] == [changed_ct.sound]
    assert [(one.name, one.reason) for one in data.failed] == [
        (changed_ct.changed, Reason.CHANGED_FILE)
    ]


def test_patches_from_the_cache_equal_those_from_memory(cohort: Cohort, cache: SampleCache) -> None:
    data = training_data(
        TrainingSources(cohort_cases=cohort.cases), STRUCTURES, INFERENCE, cache=cache
    )
    copies = [
        PreparedSample(
            image=sample.image.clone(),
            labels=sample.labels.clone(),
            annotated=sample.annotated,
            centres=sample.centres,
            dataset=sample.dataset,
        )
        for sample in data.samples
    ]

    batches = [
        patch_sampler(samples, STRUCTURES, patch=(8, 8, 8), background_share=0.5).draw(
            6, torch.Generator().manual_seed(1)
        )
        for samples in (data.samples, copies)
    ]

    assert torch.equal(batches[0].images, batches[1].images)
    for mapped, copied in zip(batches[0].targets, batches[1].targets, strict=True):
        assert torch.equal(mapped.target, copied.target)
        assert torch.equal(mapped.voxels, copied.voxels)
