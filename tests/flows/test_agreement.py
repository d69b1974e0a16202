import csv
import gzip
import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from configs.errors import UsageError
from flows import cli
from flows.agreement import agreement
from flows.agreement_csv import structures_path, write_agreement_csv
from flows.agreement_plot import write_agreement_plot
from flows.agreement_tables import print_agreement
from flows.export import ExportOptions, export
from flows.import_labels import import_labels
from flows.intake import intake
from storage.approvals import Decision, decide
from storage.cases import all_cases
from storage.csv_cells import inert
from storage.grid import Grid
from storage.predictions import Manifest, StoredMask, close_case
from storage.readers import Actor
from storage.splits import freeze_roles


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def compare(made, *sources, **options):
    (pair,) = agreement(made.store, sources, **options)
    return pair


def figures(pair):
    """(kind, structure) -> (n, mean DSC)."""
    return {
        (block.kind, row.structure): (row.dsc.n, row.dsc.mean) if row.dsc else (0, None)
        for block in pair.blocks
        for row in block.structures
    }


def dice_of(made, *masks):
    """Dice from the stored files themselves, decoded by nibabel, on the whole volume."""
    full = []
    for mask in masks:
        content = gzip.decompress(made.store.objects.read(mask.object))
        image = nibabel.Nifti1Image.from_bytes(content)
        volume = np.zeros((40, 40, 40), bool)
        i0, i1, j0, j1, k0, k1 = mask.box
        volume[i0:i1, j0:j1, k0:k1] = np.asarray(image.dataobj) > 0
        full.append(volume)
    first, second = full
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_correction_against_the_mask_it_came_from_is_edit_dsc(made, readings):
    case_id = made.case_ids[0]
    mask = readings.ball(case_id, centre=0.25, radius=0.3)
    base = readings.ball(case_id, centre=0.35, radius=0.3)
    readings.review(case_id, "liver", "correct", mask=mask)

    pair = compare(made, "committee", "reader:anna")

    expected = dice_of(made, base, mask)
    assert 0.3 < expected < 0.95
    assert figures(pair) == {("edit_dsc", "liver"): (1, pytest.approx(expected))}
    assert pair.notes == ()


def test_accepted_mask_is_the_same(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")

    pair = compare(made, "committee", "reader:anna")

    assert figures(pair) == {("edit_dsc", "liver"): (1, 1.0)}


def test_reading_and_its_second_reading_are_independent(made, readings):
    case_id = made.case_ids[0]
    first, second = (readings.ball(case_id, centre=c, radius=0.3) for c in (0.3, 0.4))
    readings.read(case_id, "liver", mask=first)
    readings.read(case_id, "liver", mask=second)

    pair = compare(made, "reader:anna/independent", "reader:anna/independent:2")

    expected = pytest.approx(dice_of(made, first, second))
    assert figures(pair) == {("independent_dsc", "liver"): (1, expected)}


def test_reading_of_one_who_saw_the_ai_stands_apart_and_is_named(made, readings):
    first, _ = made.case_ids
    readings.review(first, "liver", "accept")
    for case_id in made.case_ids:
        readings.read(case_id, "liver", mask=readings.ball(case_id, centre=0.3, radius=0.3))

    pair = compare(made, "committee", "reader:anna/independent")

    assert {key: n for key, (n, _) in figures(pair).items()} == {
        ("independent_dsc", "liver"): 1,
        ("edit_dsc", "liver"): 1,
    }
    assert [case.case_id for case in pair.cases if case.kind == "edit_dsc"] == [first]
    assert (
        "1 of 2 readings of reader:anna/independent are left out of independent_dsc"
        in (pair.notes[0])
    )


def test_dataset_against_models_is_reference_dsc(made, readings):
    case_id = made.case_ids[0]
    readings.import_label(case_id, "liver", readings.ball(case_id, centre=0.35, radius=0.3))

    pair = compare(made, "dataset:flare", "member:a")

    assert (pair.tested, pair.reference) == ("member:a", "dataset:flare")
    assert list(figures(pair)) == [("reference_dsc", "liver")]


def test_members_among_themselves_are_model_dsc(made):
    pair = compare(made, "member:a", "member:b")

    assert {kind for kind, _ in figures(pair)} == {"model_dsc"}
    # Member a half sees a spleen that b does not.
    assert figures(pair)["model_dsc", "spleen"] == (2, 0.0)


def test_absent_by_both_is_in_no_mean(made, readings):
    readings.read(made.case_ids[0], "spleen", "absent")

    pair = compare(made, "committee", "reader:anna/independent")

    (row,) = pair.blocks[0].structures
    assert (row.dsc, row.agree_absent) == (None, 1)
    assert pair.blocks[0].macros == ()


def test_rejected_and_deferred_are_excluded_with_their_reason(made, readings):
    first, second = made.case_ids
    readings.review(first, "liver", "reject")
    readings.review(second, "liver", "defer")
    readings.review(first, "stomach", "accept")

    pair = compare(made, "committee", "reader:anna")

    assert {(e.case_id, e.structure, e.source, e.reason.split(":")[0]) for e in pair.excluded} == {
        (first, "liver", "reader:anna", "rejected"),
        (second, "liver", "reader:anna", "deferred"),
    }
    missing = {one.structure: (one.only_tested, one.only_reference) for one in pair.missing}
    assert missing == {"stomach": (1, 0), "spleen": (2, 0)}


def annotate_again(made, case_id):
    """Close a case by another committee, which says just the same."""
    with made.store.read() as connection:
        (digest,) = connection.execute(
            "SELECT manifest FROM predictions WHERE case_id = ?", [case_id]
        ).fetchone()
    said = json.loads(made.store.objects.read(digest))
    manifest = Manifest(
        case_id,
        "k-000000000002",
        tuple(said["members"]),
        Grid.from_json(said["grid"]),
        tuple(StoredMask(**{**mask, "box": tuple(mask["box"])}) for mask in said["masks"]),
        (),
        tuple(said["scores"]),
    )
    assert close_case(made.store, manifest, run_id="r-2", seconds=1.0)


def test_correction_of_another_prediction_is_said(made, readings):
    first, second = made.case_ids
    for case_id in made.case_ids:
        readings.review(case_id, "liver", "accept")
    annotate_again(made, first)

    newest = compare(made, "committee", "reader:anna")
    own = compare(made, "committee:k-000000000001", "reader:anna")

    assert {case.case_id: case.other_base for case in newest.cases} == {first: True, second: False}
    assert newest.notes[0].startswith("1 of 2 labels of reader:anna were made from another")
    assert newest.notes[1].endswith("k-000000000001 1, k-000000000002 1")
    assert own.notes == ()


def test_patients_that_models_train_on_are_said_and_can_be_left_out(made, readings):
    first, second = made.case_ids
    for case_id in made.case_ids:
        readings.read(case_id, "liver", "absent")
    with made.store.read() as connection:
        patients = {case.case_id: case.patient_id for case in all_cases(connection)}
    sources = ("committee", "reader:anna/independent")
    assert compare(made, *sources).notes == ()

    freeze_roles(made.store, {patients[first]: "train", patients[second]: "report"})
    everyone = compare(made, *sources)
    kept_apart = compare(made, *sources, role="report")

    assert everyone.notes[0].startswith("1 of 2 comparisons are on patients that models train on")
    assert [(case.case_id, case.role) for case in kept_apart.cases] == [(second, "report")]
    assert kept_apart.notes == ()
    with pytest.raises(UsageError, match="has none of what is asked for"):
        compare(made, *sources, role="gate")


def test_every_two_of_three_sources_are_compared(made, readings):
    case_id = made.case_ids[0]
    for reader, centre in (("anna", 0.3), ("ben", 0.4)):
        mask = readings.ball(case_id, centre=centre, radius=0.3)
        readings.read(case_id, "liver", reader=reader, mask=mask)
    told = []

    pairs = agreement(
        made.store,
        ["reader:anna/independent", "committee", "reader:ben/independent"],
        structures=["liver"],
        advance=lambda done, total: told.append((done, total)),
    )

    assert [(pair.tested, pair.reference) for pair in pairs] == [
        ("committee", "reader:anna/independent"),
        ("reader:anna/independent", "reader:ben/independent"),
        ("committee", "reader:ben/independent"),
    ]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_sources_without_a_common_case_say_what_each_has(made, readings):
    first, second = made.case_ids
    readings.read(first, "liver", "absent")
    readings.read(second, "spleen", "absent", reader="ben")

    with pytest.raises(UsageError) as error:
        compare(made, "reader:anna/independent", "reader:ben/independent")

    assert f"reader:anna/independent has liver (1) in {first}" in str(error.value)
    assert f"reader:ben/independent has spleen (1) in {second}" in str(error.value)


def test_returned_review_is_in_no_figure_and_the_report_says_so(made, readings, capsys):
    first, second = made.case_ids
    returned = readings.review(first, "liver", "accept")
    readings.review(second, "liver", "accept")
    comment = Decision(
        verdict_id=returned.verdict_id, outcome="returned", by=Actor("ben"), comment="cut off"
    )
    decide(made.store, comment, now=datetime(2026, 1, 5))

    pair = compare(made, "committee", "reader:anna")
    print_agreement([pair])

    assert figures(pair) == {("edit_dsc", "liver"): (1, 1.0)}
    assert [(one.case_id, one.source) for one in pair.excluded] == [(first, "reader:anna")]
    assert "returned by a second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sources", "match"),
    [
        (["committee"], "two or more different"),
        (["committee", "committee"], "two or more different"),
        (["committee", "reader:zoe"], "holds no label; sources that do are: committee"),
        (["committee", "zoe"], "a label source is"),
    ],
)
def test_wrong_sources_are_refused(made, sources, match):
    with pytest.raises(UsageError, match=match):
        agreement(made.store, sources)


def test_unknown_structure_is_refused(made):
    with pytest.raises(UsageError, match="unknown structure 'lever'"):
        compare(made, "committee", "member:a", structures=["lever"])


COSINE, SINE = np.cos(0.35), np.sin(0.35)
OBLIQUE = np.array(
    [[COSINE, -SINE, 0, 0], [SINE, COSINE, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]
) @ np.diag([3.0, 3.0, 5.0, 1.0])
AFFINES = {
    "LPS": np.diag([-3.0, -3.0, 5.0, 1.0]),
    "oblique": OBLIQUE,
    "oblique, mirrored": OBLIQUE @ np.diag([-1.0, 1.0, 1.0, 1.0]),
    "anisotropic": np.diag([0.6, 0.9, 4.0, 1.0]),
}


@pytest.mark.parametrize("name", AFFINES)
def test_mask_agrees_with_itself_on_any_grid(make_annotated, make_readings, name):
    made = make_annotated(affine=AFFINES[name])
    readings = make_readings(made)
    case_id = made.case_ids[0]
    readings.read(case_id, "liver", mask=readings.ball(case_id, centre=0.35, radius=0.3))
    readings.read(case_id, "stomach", mask=readings.ball(case_id, centre=0.35, radius=0.3))

    pair = compare(made, "committee", "reader:anna/independent")

    found = figures(pair)
    # 0.35 is the liver's place; the stomach lies on the other side.
    assert found["independent_dsc", "liver"] == (1, 1.0)
    assert found["independent_dsc", "stomach"] == (1, 0.0)
    assert pair.blocks[0].structures[0].surface_dice.mean == 1.0


@pytest.mark.parametrize("name", ["LPS", "oblique, mirrored", "anisotropic"])
def test_labels_that_were_exported_and_taken_in_agree_with_themselves(
    make_annotated, make_readings, tmp_path, name
):
    made = make_annotated(affine=AFFINES[name])
    readings = make_readings(made)
    case_id = made.case_ids[0]
    mask = readings.ball(case_id, centre=0.3, radius=0.3)
    readings.review(case_id, "liver", "correct", mask=mask)
    readings.review(case_id, "stomach", "accept")
    readings.review(case_id, "spleen", "absent")
    layouts = ("abdomenatlas", "nnunet", "msd", "totalsegmentator")

    for layout in layouts:
        export(made.store, tmp_path / layout, ExportOptions(layout=layout))
        assert intake(made.store, [tmp_path / layout]).refused == ()
        import_labels(made.store, tmp_path / layout, dataset=layout)

    for layout in layouts:
        pair = compare(made, "reader:anna", f"dataset:{layout}")
        assert {row.structure: row.dsc and row.dsc.mean for row in pair.blocks[0].structures} == {
            "spleen": None,
            "liver": 1.0,
            "stomach": 1.0,
        }
        assert (pair.excluded, pair.missing) == ((), ())


def test_tables_print_n_exclusions_and_what_the_figures_are(made, readings, capsys):
    readings.review(made.case_ids[0], "stomach", "reject")
    readings.review(made.case_ids[1], "stomach", "accept")
    readings.read(made.case_ids[1], "stomach", "absent", reader="$x$")

    pairs = agreement(made.store, ["committee", "reader:anna", "reader:$x$/independent"])
    print_agreement(pairs)

    printed = capsys.readouterr().out
    assert "edit_dsc: committee against reader:anna" in printed
    assert "independent_dsc: committee against reader:$x$/independent" in printed
    assert "rejected: counts as bad" in printed
    assert "as good as" not in printed.lower()
    assert "human" not in printed.lower()


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_each_case_and_each_structure(made, readings, tmp_path):
    readings.review(made.case_ids[0], "stomach", "reject")
    readings.review(made.case_ids[1], "stomach", "accept")
    readings.review(made.case_ids[0], "spleen", "absent")
    path = tmp_path / "out" / "a.csv"

    write_agreement_csv(path, [compare(made, "committee", "reader:anna")])

    rows = rows_of(path)
    assert [(row["case_id"], row["structure"], row["status"]) for row in rows] == [
        *sorted(
            [
                (made.case_ids[0], "spleen", "agree absent"),
                (made.case_ids[1], "stomach", "in the mean"),
            ]
        ),
        (made.case_ids[0], "stomach", "excluded"),
    ]
    assert rows[2]["reason"].startswith("reader:anna rejected")
    figures_of = {row["structure"]: row for row in rows_of(structures_path(path))}
    assert figures_of["stomach"]["dsc_mean"] == "1.0"
    assert figures_of["stomach"]["excluded"] == "1"
    assert figures_of["spleen"]["agree_absent"] == "1"
    assert list(path.parent.glob(".*")) == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_cells_that_a_spreadsheet_would_run_are_inert(start):
    assert inert(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"


def test_other_cells_stay_as_they_are():
    assert [inert(cell) for cell in ("liver", -1.5, 0, None)] == ["liver", -1.5, 0, None]


def test_formula_in_a_name_is_inert_in_the_file(made, readings, tmp_path):
    readings.review(made.case_ids[0], "liver", "accept")
    pair = compare(made, "committee", "reader:anna")
    evil = replace(pair, tested="=1+1", cases=(replace(pair.cases[0], patient_id="@sum(a1)"),))

    write_agreement_csv(tmp_path / "a.csv", [evil])

    (row,) = rows_of(tmp_path / "a.csv")
    assert (row["tested"], row["patient_id"]) == ("'=1+1", "'@sum(a1)")


def test_csv_holds_no_path_and_no_file_name(made, readings, tmp_path):
    readings.review(made.case_ids[0], "liver", "accept")

    write_agreement_csv(tmp_path / "a.csv", [compare(made, "committee", "reader:anna")])

    content = (tmp_path / "a.csv").read_text()
    assert "scan" not in content
    assert str(tmp_path) not in content


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_plot_is_written_and_repeats(made, readings, tmp_path, suffix, start):
    case_id = made.case_ids[0]
    mask = readings.ball(case_id, centre=0.3, radius=0.3)
    readings.read(case_id, "liver", reader="a $x_1$ b", mask=mask)
    pairs = agreement(made.store, ["committee", "reader:a $x_1$ b/independent", "member:a"])

    for name in ("one", "two"):
        write_agreement_plot(tmp_path / f"{name}{suffix}", pairs)

    one, two = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
    assert one.startswith(start)
    assert one == two


def test_plot_without_a_dice_or_with_another_ending_is_refused(made, readings, tmp_path):
    readings.read(made.case_ids[0], "spleen", "absent")
    pair = compare(made, "committee", "reader:anna/independent")

    with pytest.raises(UsageError, match="needs a case with a Dice"):
        write_agreement_plot(tmp_path / "a.png", [pair])
    with pytest.raises(UsageError, match=r"\.png or \.svg, got a.jpg"):
        write_agreement_plot(tmp_path / "a.jpg", [pair])


@pytest.fixture
def run(made, monkeypatch):
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(made.store.workspace.root))
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.app, [str(argument) for argument in arguments])


def test_command_line_assigns_lists_and_compares(made, readings, run, tmp_path):
    first = made.case_ids[0]
    given = run("assign", "--reader", "anna", "--structure", "liver", "--case", first, "--json")
    listed = run("assign", "--list", "--json")

    expected = {
        "reader": "anna",
        "case_id": first,
        "structure": "liver",
        "reading": 1,
        "saw_ai": False,
    }
    assert json.loads(given.stdout) == json.loads(listed.stdout) == [expected]

    readings.read(first, "liver", mask=readings.ball(first, centre=0.35, radius=0.3))
    done = run(
        *("agreement", "--between", "committee", "reader:anna/independent"),
        *("--also", "member:a", "--structure", "liver", "--json"),
        *("--csv", tmp_path / "a.csv", "--plot", tmp_path / "a.png"),
    )

    assert done.exit_code == 0, done.output
    pairs = json.loads(done.stdout)
    assert [pair["blocks"][0]["kind"] for pair in pairs] == [
        "independent_dsc",
        "model_dsc",
        "independent_dsc",
    ]
    assert pairs[0]["blocks"][0]["structures"][0]["dsc"]["mean"] == 1.0
    assert (tmp_path / "a.structures.csv").exists()
    assert (tmp_path / "a.png").exists()


def test_command_line_draws_cases_at_random_by_seed(made, run):
    options = ("assign", "--structure", "liver", "--random", "1", "--json")
    drawn = [
        json.loads(run(*options, "--reader", name, "--seed", seed).stdout)[0]["case_id"]
        for name, seed in (("a", 3), ("b", 3), ("c", 0), ("d", 1), ("e", 2), ("f", 4))
    ]

    assert drawn[0] == drawn[1]
    assert set(drawn) == set(made.case_ids)
    again = run(*options, "--reader", "a", "--seed", 3)
    assert json.loads(again.stdout)[0]["case_id"] != drawn[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("assign",), "needs --reader and --structure"),
        (("assign", "--reader", "a", "--structure", "liver"), "either --case or --random"),
        (
            ("assign", "--reader", "a", "--structure", "liver", "--random", "3"),
            "there are 2, not 3",
        ),
        (
            ("agreement", "--between", "committee", "member:a", "--plot", "a.pdf"),
            "ends in .png or .svg",
        ),
        (("agreement", "--between", "committee", "ground truth"), "a label source is"),
    ],
)
def test_wrong_use_ends_with_2_and_says_why(run, arguments, message):
    result = run(*arguments)

    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_command_line_without_sources_lists_them(run):
    result = run("agreement", "--json")

    assert [(one["source"]["kind"], one["labels"]) for one in json.loads(result.stdout)] == [
        ("committee", 6),
        ("committee", 6),
        ("member", 6),
        ("member", 6),
    ]
    assert "member:a" in run("agreement", "--list").stdout


def test_comparing_loads_no_torch() -> None:
    code = (
        "import sys, flows.agreement, flows.agreement_csv, flows.agreement_plot, "
        "flows.agreement_tables, flows.assign; "
        "print([n for n in ('torch', 'monai', 'matplotlib', 'streamlit') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
