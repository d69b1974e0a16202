"""Findings on the case page and in the editor, and nothing of them where a reader judges blind."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import review_app
from configs.taxonomy import load_taxonomy
from review_app import case_images, session
from review_app.edit_item import item_of
from review_app.mask_editor import component
from review_app.view_models import structure_lines
from storage.assignments import assign_readings
from storage.blind_items import BlindBatch, BlindItem, assign_blind
from storage.findings import StoredFinding, record_check
from storage.review_case import read_case

MAIN = Path(review_app.__file__).with_name("main.py")
OWN, SHARED, OTHER = "canary of the liver", "canary of both", "open words of the stomach"
PLACE = (12, 9, 4)


@pytest.fixture
def made(make_annotated, monkeypatch):
    workspace = make_annotated()
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(workspace.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "anna")
    monkeypatch.setattr(component, "__file__", "nowhere")
    session.desk.cache_clear()
    case_images._cts.cache_clear()
    found = [
        finding("liver", OWN),
        finding("stomach", SHARED, mentions=("liver",)),
        finding("stomach", OTHER, severity="note"),
        finding("spleen", "not seen", place=None),
    ]
    prediction_id = workspace.prediction_id(workspace.case_ids[0])
    record_check(workspace.store, prediction_id, "0" * 64, found)
    yield workspace
    session.desk.cache_clear()


def finding(structure, words, *, severity="fault", mentions=(), place=PLACE):
    return StoredFinding(
        structure=structure,
        rule="volume",
        severity=severity,
        other=mentions[0] if mentions else None,
        value=1.0,
        place=place,
        explanation=words,
        mentions=mentions,
    )


def run(made, structure):
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    app.query_params.update(view="case", case=made.case_ids[0], structure=structure)
    app.run()
    assert not app.exception
    assert not app.error
    return app


def words(app):
    return "\n".join(html.value for html in app.get("html"))


def shows(app):
    return [button for button in app.button if (button.key or "").startswith("finding-")]


def case_of(made):
    return read_case(
        made.store, made.case_ids[0], reader="anna", now=datetime.now(UTC).replace(tzinfo=None)
    )


def blind(made):
    item = BlindItem(made.case_ids[0], "liver", "audit", 1, None)
    assign_blind(made.store, BlindBatch(reader="anna", items=(item,), frame=3, seed=0))


def test_a_finding_is_told_and_its_button_turns_the_pictures_to_the_place(made):
    app = run(made, "stomach")
    assert SHARED in words(app)
    assert OTHER in words(app)
    assert OWN not in words(app)
    assert SHARED in words(run(made, "liver"))

    shows(app)[0].click().run()

    name = f"slice-{made.case_ids[0]}-stomach"
    case = case_of(made)
    i, j, k = case.grid.voxel_to_ras(PLACE)
    turned = [app.slider(key=f"{name}-{plane}").value for plane in ("sagittal", "coronal", "axial")]
    assert turned == [i + 1, j + 1, k + 1]


def test_an_absent_organ_has_a_line_and_a_finding_without_a_place_no_button(made):
    app = run(made, "spleen")

    assert "not seen" in words(app)
    assert shows(app) == []


def test_a_label_that_a_reader_changed_has_no_findings_any_more(made, make_readings):
    make_readings(made).review(made.case_ids[0], "liver", "absent", reader="anna")

    app = run(made, "liver")

    assert OWN not in words(app)
    assert shows(app) == []


def test_a_blind_reader_is_told_nothing_of_the_item_not_even_under_its_neighbours(made):
    blind(made)

    item, neighbour = run(made, "liver"), run(made, "stomach")

    assert "canary" not in words(item) + words(neighbour)
    assert shows(item) == []
    assert OTHER in words(neighbour)
    assert case_of(made).findings.keys() == {"stomach", "spleen"}


def test_after_the_verdict_a_blind_reader_is_told(made):
    blind(made)
    app = run(made, "liver")
    app.button(key=f"accept-{made.case_ids[0]}-liver").click().run()

    assert {"liver", "stomach"} <= case_of(made).findings.keys()
    assert SHARED in words(run(made, "stomach"))


def test_whoever_reads_without_the_mask_is_told_nothing_of_it(made):
    assign_readings(made.store, reader="anna", case_ids=made.case_ids, structures=["liver"])

    assert "canary" not in words(run(made, "stomach"))
    assert "liver" not in case_of(made).findings


def test_the_editor_steps_to_faults_alone_and_to_none_of_a_blind_item(made):
    case = case_of(made)
    lines = {line.structure: line for line in structure_lines(case, load_taxonomy())}

    places = {name: item_of(case, lines[name]).findings for name in ("liver", "stomach", "spleen")}

    place = case.grid.voxel_to_ras(PLACE)
    assert places == {"liver": (place,), "stomach": (place,), "spleen": ()}
    assert item_of(case, lines["liver"], blind=True).findings == ()
