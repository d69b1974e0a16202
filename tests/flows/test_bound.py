import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from configs.errors import AccessError, UsageError
from flows.audit import AuditRequest, audit
from flows.bound import BoundRequest, bound
from flows.cli import app
from model.acceptance import TimeUniformBound
from storage.audit_answers import framed_labels
from storage.labels import ABSENT
from storage.reader_registry import register_reader
from storage.readers import Actor
from storage.rebuild import rebuild
from storage.release_bounds import bounds_of
from storage.releases import freeze_release
from storage.roles import Role
from storage.store import Store
from storage.verify import verify


@pytest.fixture
def made(make_annotated):
    made = make_annotated(cases=3)
    settings = made.store.settings
    review = settings.review.model_copy(update={"reader": "anna"})
    settings = settings.model_copy(update={"review": review})
    return replace(made, store=Store.open(made.store.workspace.root, settings))


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def draw(made, *, more=1, share=0.0):
    """Draw units, all with the AI's mask or all without."""
    triage = made.store.settings.triage.model_copy(update={"audit_unaided_share": share})
    settings = made.store.settings.model_copy(update={"triage": triage})
    store = Store.open(made.store.workspace.root, settings)
    audit(store, made.committee_id, AuditRequest(more=more, seed=3))


def livers(made, *, way="aided"):
    """Return the cases in the random order of their livers."""
    predictions = [made.prediction_id(case_id) for case_id in made.case_ids]
    with made.store.read() as connection:
        labels = framed_labels(connection, predictions)
    found = [label for label in labels if label.structure == "liver"]
    return [one.case_id for one in sorted(found, key=lambda one: getattr(one, f"{way}_ticket"))]


def said(made, *, release="first", **changes):
    statement, is_known = bound(made.store, BoundRequest(release=release, **changes))
    return json.loads(json.dumps(statement)), is_known


def row(statement, structure="liver", kind="edit_dsc"):
    (block,) = (one for one in statement["kinds"] if one["kind"] == kind)
    found = [*block["structures"], block["overall"]]
    return next(one for one in found if one["structure"] == structure)


def test_reading_every_liver_of_a_frozen_release_says_all(made, readings):
    freeze_release(made.store, "first")
    draw(made)
    first, second, third = livers(made)
    readings.review(first, "liver", "accept")
    readings.review(second, "liver", "reject")
    readings.review(third, "liver", "absent")

    statement, _ = said(made)

    liver = row(statement)
    assert (liver["unreviewed"], liver["frame"], liver["read"], liver["bad"]) == (3, 3, 3, 2)
    assert (liver["at_most"], liver["share"], liver["share_together"]) == (2, 2 / 3, 2 / 3)
    # Nothing is known of the others but the livers, which are two bad ones and a good one.
    assert row(statement, "spleen")["share"] == 1.0
    overall = row(statement, "all")
    assert overall["share_together"] is None
    assert overall["at_most"] == 8


@pytest.mark.parametrize(
    ("verdict", "confidence", "at_most"),
    [("reject", 0.5, 1), ("accept", 0.5, 0), ("accept", 0.6, 1)],
)
def test_what_was_reviewed_is_no_longer_among_the_unreviewed(
    made, readings, verdict, confidence, at_most
):
    """Two of three livers are drawn, the third is what nobody looked at.

    A single bad one hides from two good draws with probability 1/3. Four fifths of the error belong
    to the first evaluation: at 50 % that is 0.4, which rules it out, and at 60 % 0.32, which does
    not. With a bad one drawn, a second one goes with two of three samples.
    """
    draw(made)
    first, second, _ = livers(made)
    readings.review(first, "liver", verdict)
    readings.review(second, "liver", "accept")
    freeze_release(made.store, "first")

    liver = row(said(made, confidence=confidence)[0])

    assert (liver["unreviewed"], liver["frame"], liver["read"]) == (1, 3, 2)
    assert liver["bad"] == (verdict == "reject")
    assert liver["at_most"] == at_most


def test_what_is_answered_out_of_order_does_not_count(made, readings):
    freeze_release(made.store, "first")
    draw(made)
    first, second, third = livers(made)
    readings.review(second, "liver", "accept")
    readings.review(third, "liver", "accept")
    with pytest.raises(UsageError, match="the first one waits"):
        said(made)

    readings.review(first, "liver", "defer")

    statement, _ = said(made)
    liver = row(statement)
    assert (liver["read"], liver["bad"], liver["unsure"], liver["at_most"]) == (3, 1, 1, 1)
    assert "without an answer" in " ".join(statement["words"])


def test_a_correction_is_bad_where_its_overlap_is_below_the_limit(made, readings):
    draw(made)
    case_id, *_ = livers(made)
    own = readings.ball(case_id, centre=0.35, radius=0.3)
    mask = readings.ball(case_id, centre=0.35, radius=0.24)
    readings.review(case_id, "liver", "correct", mask=mask)
    freeze_release(made.store, "first")

    # The smaller ball lies in the larger one.
    dsc = 2 * mask.voxels / (own.voxels + mask.voxels)

    assert row(said(made, dsc=round(dsc - 0.01, 3))[0])["bad"] == 0
    assert row(said(made, dsc=round(dsc + 0.01, 3))[0])["bad"] == 1
    assert row(said(made, dsc=dsc)[0])["bad"] == 0


def test_an_absent_structure_that_stays_absent_is_good(made, readings):
    freeze_release(made.store, "first")
    draw(made)
    for case_id in made.case_ids:
        readings.review(case_id, "spleen", "absent")

    assert row(said(made)[0], "spleen")["bad"] == 0


def test_a_second_evaluation_from_other_readings_is_time_uniform(made, readings):
    freeze_release(made.store, "first")
    draw(made)
    first, second, _ = livers(made)
    readings.review(first, "liver", "accept")
    once, is_known = said(made)
    assert (once["method"], is_known) == ("fixed", False)
    assert said(made) == (once, True)
    assert said(made, dsc=0.7)[0]["method"] == "fixed"

    readings.review(second, "liver", "accept")

    again, is_known = said(made)
    assert (again["method"], is_known) == ("time_uniform", False)
    assert "evaluated before" in " ".join(again["words"])
    with made.store.read() as connection:
        known = bounds_of(connection)
    assert [one.dsc for one in known] == [0.8, 0.7, 0.8]
    rebuild(made.store)
    with made.store.read() as connection:
        assert bounds_of(connection) == known
    verify(made.store).raise_for_findings()


def test_a_second_release_of_the_same_predictions_is_one_more_look(made, readings):
    """Whoever dislikes a bound may freeze again and read on; the order of chance is the same."""
    freeze_release(made.store, "first")
    draw(made)
    first, second, _ = livers(made)
    readings.review(first, "liver", "reject")
    freeze_release(made.store, "same")
    once, _ = said(made)
    assert once["method"] == said(made, release="same")[0]["method"] == "fixed"
    readings.review(second, "liver", "accept")
    freeze_release(made.store, "second")

    again, _ = said(made, release="second")

    assert again["method"] == "time_uniform"
    assert "release first, same" in " ".join(again["words"])


def test_the_first_and_all_later_evaluations_share_the_error(made, readings):
    """The only bad liver of three hides from two good draws with probability 1/3.

    Their evidence under the prior (1, 20) is 20/22, and 1/3 lies above a fifth of one half of it,
    though below one half of it.
    """
    freeze_release(made.store, "first")
    draw(made)
    first, second, _ = livers(made)
    readings.review(first, "liver", "accept")
    assert "takes 0.04 of the error of 0.05" in " ".join(said(made)[0]["words"])
    readings.review(second, "liver", "accept")

    statement, _ = said(made, confidence=0.5)

    assert row(statement)["at_most"] == TimeUniformBound(3, 0.9).most_bad([False] * 2) == 1
    assert TimeUniformBound(3, 0.5).most_bad([False] * 2) == 0
    assert "together take 0.1 of the error of 0.5" in " ".join(statement["words"])


def test_a_new_model_version_begins_from_nothing(made, readings):
    draw(made)
    readings.review(livers(made)[0], "liver", "accept")
    freeze_release(made.store, "first")
    assert row(said(made)[0])["read"] == 1
    with made.store.transaction() as transaction:
        known = transaction.connection.execute(
            "SELECT case_id, manifest FROM predictions"
        ).fetchall()
        for case_id, manifest in known:
            transaction.record(
                "case.annotated",
                {
                    "case_id": case_id,
                    "committee_id": "k-000000000002",
                    "run_id": "r-2",
                    "manifest": manifest,
                    "seconds": 1.0,
                },
            )

    freeze_release(made.store, "second")

    with pytest.raises(UsageError, match="audits of other predictions"):
        said(made, release="second")
    # The old release is still about the old labels, whose audits stand.
    assert row(said(made, dsc=0.7)[0])["read"] == 1


def test_readings_without_the_mask_are_apart_and_only_they_are_accuracy(made, readings):
    freeze_release(made.store, "first")
    draw(made, more=9, share=1.0)
    order = livers(made, way="unaided")
    for case_id in order:
        read(made, case_id, ABSENT)

    statement, _ = said(made)

    assert [one["kind"] for one in statement["kinds"]] == ["independent_dsc"]
    liver = row(statement, kind="independent_dsc")
    assert (liver["read"], liver["bad"], liver["at_most"]) == (3, 3, 3)
    assert "accuracy" in statement["words"][0]
    readings.review(order[0], "spleen", "accept")


def read(made, case_id, mask):
    """Give the reading that was drawn, without assigning another one."""
    import secrets
    from datetime import datetime

    from storage.verdicts import Verdict, give_verdict

    verdict = Verdict(
        case_id=case_id,
        structure="liver",
        verdict="absent" if mask is ABSENT else "correct",
        reader="anna",
        base_version=None,
        request_id=secrets.token_hex(8),
        opened_at=datetime(2026, 1, 5),
        active_s=1.0,
        reading="independent",
        mask=None if mask is ABSENT else mask,
    )
    give_verdict(made.store, verdict, now=datetime(2026, 1, 5))


def test_what_cannot_be_said_is_refused_in_words(made, readings):
    with pytest.raises(UsageError, match="no release is called 'none'"):
        said(made, release="none")
    freeze_release(made.store, "first")
    with pytest.raises(UsageError, match="nothing was audited"):
        said(made)
    draw(made)
    with pytest.raises(UsageError, match="none was audited"):
        said(made)
    for dsc in (0.0, 1.01, -1):
        with pytest.raises(UsageError, match=r"\(0, 1\]"):
            BoundRequest(release="first", dsc=dsc)
    with pytest.raises(UsageError, match="confidence"):
        BoundRequest(release="first", confidence=1.0)
    readings.review(made.case_ids[0], "liver", "accept")
    freeze_release(made.store, "reviewed", reviewed_only=True)
    with pytest.raises(UsageError, match="holds none"):
        said(made, release="reviewed")


def test_only_an_admin_says_it_where_readers_are_registered(made, readings):
    freeze_release(made.store, "first")
    draw(made)
    readings.review(livers(made)[0], "liver", "accept")
    register_reader(made.store, "ada", Role.ADMIN, by=None)

    with pytest.raises(AccessError):
        said(made, by=Actor("anna"))
    assert said(made, by=Actor("ada"))[1] is False


def test_the_command_prints_what_releases_and_exports_repeat(made, readings, tmp_path):
    freeze_release(made.store, "first")
    draw(made)
    for case_id in made.case_ids:
        readings.review(case_id, "liver", "accept")
    root = str(made.store.workspace.root)

    def run(*arguments):
        result = CliRunner().invoke(app, ["bound", "--release", "first", "-w", root, *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    text = run()
    assert "of the unreviewed labels of release first are below DSC 0.8" in text
    assert "needed for 5%" in text
    found = json.loads(run("--json"))
    assert (found["recorded_before"], row(found)["at_most"]) == (True, 0)
    assert text.splitlines()[0] in CliRunner().invoke(app, ["release", "-w", root]).stdout
    out = tmp_path / "out"
    labels = ["export", str(out), "--layout", "msd", "--release", "first", "--ct", "none"]
    assert CliRunner().invoke(app, [*labels, "-w", root]).exit_code == 0
    (told,) = json.loads((out / "label_map.json").read_text())["bounds"]
    assert told["words"] == found["words"]
    wrong = ["bound", "--release", "first", "-w", root, "--dsc", "0"]
    assert CliRunner().invoke(app, wrong).exit_code == 2
