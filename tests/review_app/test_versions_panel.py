"""Comparing versions and bringing one back, without a browser."""

import io

import numpy as np
import pytest
from PIL import Image

from review_app import case_images, session
from review_app.case_images import ct_of
from review_app.session import utc_now
from review_app.version_choices import default_pair, version_choices
from review_app.version_pair import PairView, pair_pngs, version_pair
from storage.claims import claim_items
from storage.label_masks import read_label
from storage.labels import ABSENT
from storage.review_case import read_case
from tests.review_app.app_script import keys, press, run_case, texts

RGB = (1, 2, 3)


@pytest.fixture
def made(make_annotated, monkeypatch):
    workspace = make_annotated(cases=1)
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(workspace.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "ben")
    session.desk.cache_clear()
    case_images._cts.cache_clear()
    yield workspace
    session.desk.cache_clear()


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


@pytest.fixture
def masks(made, readings):
    """A wide liver that reaches into the stomach, then a narrow one."""
    case_id = made.case_ids[0]
    wide = readings.ball(case_id, centre=0.1, radius=0.6)
    narrow = readings.ball(case_id, centre=0.35, radius=0.2)
    for mask in (wide, narrow):
        readings.review(case_id, "liver", "correct", mask=mask)
    return wide, narrow


def shown(made):
    return read_case(made.store, made.case_ids[0], reader="ben", now=utc_now())


def test_choices_are_the_consensus_and_every_version_oldest_first(made, masks):
    case = shown(made)
    choices = version_choices(case, "liver")

    assert [choice.label_id for choice in choices] == [
        case.prediction_id,
        *(one.version_id for one in case.versions),
    ]
    assert [choice.mask for choice in choices[1:]] == list(masks)
    assert [choice.is_newest for choice in choices] == [False, False, True]
    assert default_pair(choices) == (choices[1].label_id, choices[2].label_id)


def test_same_mask_under_a_later_name_says_so_and_is_not_compared_at_first(made, readings):
    case_id = made.case_ids[0]
    readings.review(case_id, "spleen", "absent")
    readings.review(case_id, "liver", "accept")
    case = shown(made)

    liver, spleen = (version_choices(case, name) for name in ("liver", "spleen"))

    assert liver[1].words.endswith("UTC, as the committee's")
    assert spleen[0].words == "committee, absent"
    assert spleen[1].words.endswith("UTC, absent, as the committee's")
    assert default_pair(liver) == (liver[0].label_id, liver[1].label_id)


@pytest.mark.parametrize(("plane", "axis"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_pair_starts_where_most_differs_and_shades_what_the_other_lacks(made, masks, plane, axis):
    case, (wide, narrow) = shown(made), masks
    store, shape = made.store, case.grid.ras_shape
    first, second = (read_label(store.objects, mask, shape) for mask in masks)
    pair = version_pair(store.objects, case.grid, wide, narrow)

    changed = np.count_nonzero(first ^ second, axis=tuple({0, 1, 2} - {axis}))
    assert changed[pair.start_slice(plane)] == changed.max() > 0
    left, right = (
        np.asarray(Image.open(io.BytesIO(png))).astype(int)
        for png in pair_pngs(
            pair,
            ct_of(store, case.case),
            PairView(
                plane=plane,
                slice_index=pair.start_slice(plane),
                window_hu=(-160.0, 240.0),
                margin_mm=20.0,
            ),
            rgb=RGB,
        )
    )
    for picture, mask in ((left, first), (right, second)):
        is_there = mask.take(pair.start_slice(plane), axis).any()
        assert (picture == RGB).all(axis=2).any() == is_there
    # The shade is the only thing redder than green by so much. The narrow mask lies inside the wide
    # one: nothing is on the right alone.
    redder = [np.count_nonzero(picture[..., 0] - picture[..., 1] > 50) for picture in (left, right)]
    assert redder[0] > 1000
    assert redder[1] == 0


def test_pair_of_two_absent_labels_starts_in_the_middle(made):
    case = shown(made)

    pair = version_pair(made.store.objects, case.grid, ABSENT, ABSENT)

    assert (pair.difference.most_changed, pair.start_slice("axial")) == (None, 10)


def test_page_compares_and_is_reached_from_the_case_page(made, masks):
    app = run_case(made)
    press(app, "compare-versions")

    volumes = [mask.voxels * 45 / 1000 for mask in masks]
    assert f"{volumes[0]:.1f} mL" in texts(app)
    assert f"Removed on the right</td><td><b>{volumes[0] - volumes[1]:.2f} mL" in texts(app)
    assert "Added on the right</td><td><b>0.00 mL" in texts(app)
    assert len(app.get("image")) == 2
    press(app, "back-to-case")
    assert f"accept-{made.case_ids[0]}-liver" in keys(app)


def test_reader_chooses_the_plane_and_each_has_slices_of_its_own(made, masks):
    app = run_case(made, view="versions")
    counts = {}
    for plane in ("axial", "coronal", "sagittal"):
        app.segmented_control(key="version-plane").set_value(plane).run()
        assert not app.exception
        (slider,) = app.slider
        counts[plane] = int(slider.max)
        assert slider.label.startswith(f"{plane.capitalize()} slice of {counts[plane]}, ")
        assert len(app.get("image")) == 2

    shape = shown(made).grid.ras_shape
    assert counts == {"axial": shape[2], "coronal": shape[1], "sagittal": shape[0]}


def test_structure_without_a_version_has_nothing_to_compare(made):
    assert "nothing to compare" in texts(run_case(made, "stomach", view="versions"))


def test_neighbour_that_is_not_ticked_stays_as_it_is(made, masks):
    older = shown(made).versions[0]
    app = run_case(made, view="versions")
    press(app, f"restore-Left-{older.version_id}")
    assert "overlaps a neighbour" in texts(app)
    before = shown(made).bases["stomach"]
    app.checkbox(key=f"take-{older.version_id}-stomach").uncheck().run()

    press(app, f"record-restore-{older.version_id}")

    assert shown(made).bases["stomach"] == before
    assert shown(made).bases["liver"][1] == masks[0]


def test_what_another_reader_holds_is_not_brought_back(made, masks, readings):
    older = shown(made).versions[0]
    app = run_case(made, view="versions")
    press(app, f"restore-Left-{older.version_id}")
    now = utc_now()
    lease = session.desk().lease
    claim_items(made.store, made.case_ids[0], ["liver"], reader="cleo", now=now, lease=lease)

    press(app, f"record-restore-{older.version_id}")

    assert "held by another reader" in texts(app)
    assert shown(made).bases["liver"][1] == masks[1]


def test_change_meanwhile_is_a_conflict_and_the_next_press_takes_as_ticked(made, masks, readings):
    older = shown(made).versions[0]
    app = run_case(made, view="versions")
    press(app, f"restore-Left-{older.version_id}")
    readings.review(made.case_ids[0], "liver", "absent", reader="cleo")

    press(app, f"record-restore-{older.version_id}")
    assert "changed meanwhile" in texts(app)
    assert shown(made).bases["liver"][1] == ABSENT
    assert shown(made).held_until == {}

    stomach = shown(made).bases["stomach"][1]
    press(app, f"record-restore-{older.version_id}")
    case = shown(made)
    assert case.bases["liver"][1] == masks[0]
    assert case.bases["stomach"][1].voxels < stomach.voxels
    with made.store.read() as connection:
        told = connection.execute("SELECT restores FROM verdicts ORDER BY seq DESC").fetchone()
    assert told == (older.version_id,)
    assert f"accept-{made.case_ids[0]}-liver" in keys(app)
