import pytest

from configs.connectors import load_dataset
from flows.init import init
from flows.split import split
from storage.dataset_cases import (
    DatasetMembership,
    dataset_cases,
    overlapping_cases,
    record_dataset_case,
    untold_overlaps,
)
from storage.labels import ABSENT, dataset_labels, reference_labels, source_labels
from storage.splits import effective_roles, freeze_roles, patient_groups, patient_roles


def member(case_id, dataset, name, **changes):
    facts = {"license": "nc", "annotated": (), "weak": (), **changes}
    return DatasetMembership(case_id=case_id, dataset=dataset, name=name, **facts)


def pairs(*members):
    return overlapping_cases([member(f"c-{n}", *m) for n, m in enumerate(members)])


def test_the_same_number_in_lits_and_msd_liver_is_one_scan():
    assert pairs(("lits", "7"), ("msd_task03_liver", "7"), ("msd_task03_liver", "8")) == (
        ("c-0", "c-1"),
    )


def test_numbers_past_the_shared_range_are_no_overlap():
    """KiTS19 and KiTS23 share the first 300; 400 to 588 came later."""
    assert pairs(("kits19", "299"), ("kits23", "299")) == (("c-0", "c-1"),)
    assert pairs(("kits21", "400"), ("kits23", "400")) == ()


def test_a_pool_without_known_order_pairs_each_with_each():
    found = pairs(("lits", "28"), ("lits", "47"), ("lits", "48"), ("ircadb3d", "3"))

    assert found == (("c-0", "c-3"), ("c-1", "c-3"))


def test_three_names_of_one_kidney_scan_are_three_pairs():
    assert len(pairs(("kits19", "12"), ("kits21", "12"), ("kits23", "12"))) == 3


def test_one_name_with_two_contents_is_one_scan():
    assert pairs(("word", "5"), ("word", "5"), ("word", "6")) == (("c-0", "c-1"),)


def test_unrelated_datasets_and_names_without_number_pair_with_nothing():
    assert pairs(("word", "5"), ("amos22_ct", "5")) == ()
    assert pairs(("verse", "a/b"), ("verse", "a/c"), ("mine", "5"), ("lits", "5")) == ()


def test_one_case_under_two_names_is_no_pair():
    found = overlapping_cases([member("c-1", "lits", "7"), member("c-1", "msd_task03_liver", "7")])

    assert found == ()


def test_overlaps_without_numbers_are_known_both_ways():
    assert untold_overlaps(load_dataset("abdomenct_1k"), ["lits", "kits19", "word"]) == (
        "kits19",
        "lits",
    )
    assert untold_overlaps(load_dataset("lits"), ["abdomenct_1k", "lits"]) == ("abdomenct_1k",)
    assert untold_overlaps(load_dataset("lits"), ["msd_task03_liver"]) == ()


@pytest.fixture
def store(tmp_path):
    """Three patients with one case each, and no scan: roles need none."""
    store = init(tmp_path / "w")
    with store.transaction() as transaction:
        for name in ("a", "b", "c"):
            facts = {"case_id": f"c-{name}", "patient_id": f"p-{name}", "assigned_by": "csv"}
            transaction.record("patient.assigned", facts)
    return store


def read(store, function, **arguments):
    with store.read() as connection:
        return function(connection, **arguments)


def test_a_scan_under_two_names_gets_one_role(store):
    record_dataset_case(store, member("c-a", "lits", "7"), {})
    record_dataset_case(store, member("c-c", "msd_task03_liver", "7"), {})
    freeze_roles(store, {"p-c": "train"})

    split(store)

    assert read(store, patient_groups) == [("p-a", "p-c"), ("p-b",)]
    assert read(store, patient_roles)["p-a"] == "train"


@pytest.mark.parametrize("role", ["gate", "report"])
def test_who_judges_is_not_measured_once_known_to_train_under_another_name(store, role):
    freeze_roles(store, {"p-a": role, "p-b": role, "p-c": "train"})
    record_dataset_case(store, member("c-a", "lits", "7"), {})
    assert read(store, effective_roles)["p-a"] == role

    record_dataset_case(store, member("c-c", "msd_task03_liver", "7"), {})

    assert read(store, effective_roles) == {"p-a": "train", "p-b": role, "p-c": "train"}
    assert read(store, patient_roles)["p-a"] == role
    assert split(store).leaked == 1


def test_a_patient_without_a_role_links_two_that_have_one(store):
    freeze_roles(store, {"p-a": "gate", "p-c": "train"})
    record_dataset_case(store, member("c-a", "kits19", "3"), {})
    record_dataset_case(store, member("c-c", "word", "3"), {})
    # The third scan is named in both datasets, and so ties the first two to one another.
    record_dataset_case(store, member("c-b", "kits21", "3"), {})
    assert read(store, effective_roles) == {"p-a": "gate", "p-c": "train"}

    record_dataset_case(store, member("c-b", "word", "3"), {})

    assert read(store, effective_roles) == {"p-a": "train", "p-c": "train"}


def test_newcomers_of_a_mixed_group_train(store):
    freeze_roles(store, {"p-a": "train", "p-b": "report"})
    for case_id, dataset in (("c-a", "kits19"), ("c-c", "kits21"), ("c-b", "kits23")):
        record_dataset_case(store, member(case_id, dataset, "3"), {})

    split(store)

    assert read(store, patient_roles)["p-c"] == "train"


def test_equal_words_are_recorded_once_and_a_weak_one_takes_back_a_strong_one(store):
    strong = member("c-a", "ct_org", "3", annotated=("liver",))
    first = record_dataset_case(store, strong, {"liver": ABSENT})
    again = record_dataset_case(store, strong, {"liver": ABSENT})
    lines = [line.kind for line in store.journal.lines()]
    assert (first, again) == (("liver",), ())
    assert lines.count("dataset.case") == lines.count("labels.imported") == 1
    assert set(read(store, dataset_labels)) == {("c-a", "liver")}

    weak = member("c-a", "ct_org", "3", annotated=("liver",), weak=("liver",))
    changed = record_dataset_case(store, weak, {"liver": ABSENT})

    assert changed == ("liver",)
    assert read(store, dataset_cases) == (weak,)
    assert read(store, dataset_labels) == {}
    freeze_roles(store, {"p-a": "gate"})
    assert read(store, reference_labels, role="gate") == {}
    sources = read(store, source_labels, source="dataset:ct_org")
    assert [version.weak for version in sources] == [False, True]


def test_what_is_no_longer_said_trains_no_longer(store):
    before = member("c-a", "ct_org", "3", annotated=("liver", "bladder"))
    record_dataset_case(store, before, {"liver": ABSENT, "bladder": ABSENT})

    now = member("c-a", "ct_org", "3", annotated=("liver",))
    changed = record_dataset_case(store, now, {"liver": ABSENT})

    assert changed == ("bladder",)
    assert set(read(store, dataset_labels)) == {("c-a", "liver")}
    assert record_dataset_case(store, now, {"liver": ABSENT}) == ()


def test_names_stay_out_of_the_journal(store):
    record_dataset_case(store, member("c-a", "verse", "sub-smith/scan"), {})

    assert "smith" not in store.journal.path.read_text()
    assert read(store, dataset_cases)[0].name == "sub-smith/scan"
