"""The editor in a real browser, on documents made in place."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_MS = 30_000
STATE = "() => window.editorRoot().dataset.state"


@pytest.fixture(scope="module")
def server(serving):
    with serving.EditorServer().running() as running:
        yield running


@pytest.fixture
def document(serving, server):
    return server.add(serving.made_document())


@pytest.fixture(scope="module")
def tab(browser, server, serving):
    """One page for all tests: a test mounts the editor anew, which is faster than a reload."""
    opened = browser.new_page(viewport={"width": 1100, "height": 700})
    opened.set_default_timeout(PATIENCE_MS)
    opened.goto(server.page(server.add(serving.made_document((8, 8, 8)))))
    yield opened
    opened.close()


@pytest.fixture
def page(tab, document):
    faults = []
    listener = lambda error: faults.append(str(error))  # noqa: E731 - to be taken off again
    tab.on("pageerror", listener)
    show(tab, document)
    yield tab
    tab.remove_listener("pageerror", listener)
    assert faults == []


def show(page, document, **data):
    """Mount the editor on a document, as Streamlit does when its page comes up."""
    page.evaluate(
        """data => { window.cleanup?.(); window.triggers.length = 0; window.outside.length = 0;
          window.show(data); }""",
        {"document_url": f"/edit/{document.token}/document", "mode": "edit", **data},
    )
    opened(page, document)


def opened(page, document):
    page.wait_for_function(
        """id => { const { state, layers, document } = window.editorRoot()?.dataset ?? {};
          return state === "failed" || (layers === "ready" && document === id); }""",
        arg=document.as_json()["id"],
    )
    assert page.evaluate(STATE) == "ready"


def screen(page, document, voxel):
    """Where a voxel of the axial plane lies on the page, worked out here a second time.

    The plane fills the stage's left; its scale follows from the region's extent in mm. The
    patient's right and front are on the left and above.
    """
    box = page.locator(".stage").bounding_box()
    right = round(min(box["width"] * 0.36, max(box["width"] - box["height"], box["width"] * 0.28)))
    width, height = box["width"] - right - 4, box["height"]
    (nu, nv), (su, sv) = document.mask.shape[:2], document.spacing_mm[:2]
    scale = min(width / (nu * su), height / (nv * sv))
    x = box["x"] + width / 2 - (voxel[0] - (nu - 1) / 2) * su * scale
    y = box["y"] + height / 2 - (voxel[1] - (nv - 1) / 2) * sv * scale
    return x, y


def paint(page, document, *voxels):
    points = [screen(page, document, voxel) for voxel in voxels]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def act(page, name):
    page.locator(f"[data-name='{name}']").first.click()


def said(page, words):
    page.locator(".footer-message", has_text=words).wait_for()


def triggers(page, name):
    return [value for kind, value in page.evaluate("window.triggers") if kind == name]


def disc(shape, center, radius_mm, spacing_mm):
    """Voxels of one slice within a radius of a point."""
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    near = ((x - center[0]) * spacing_mm[0]) ** 2 + ((y - center[1]) * spacing_mm[1]) ** 2
    found = np.zeros(shape, bool)
    found[:, :, center[2]] = near <= radius_mm**2
    return found


def saved_after(page, document):
    page.keyboard.press("Control+s")
    said(page, "Saved")
    return document.saved[-1]


def test_painted_voxels_and_no_others_arrive_in_one_save(page, document):
    start = (10, 9, 16)
    expected = document.mask.astype(bool) | disc((48, 40, 32), start, 2.5, document.spacing_mm)
    assert expected.sum() - document.mask.sum() == 9

    page.keyboard.press("[")
    paint(page, document, start)
    found = saved_after(page, document)

    assert (found.astype(bool) == expected).all()
    assert len(document.saved) == 1
    (event,) = triggers(page, "save")
    assert event["document"] == document.as_json()["id"]
    assert event["receipt"]["voxels_changed"] == 9


def test_undo_and_redo_are_exact_and_a_save_holds_what_is_shown(page, document):
    paint(page, document, (8, 9, 16), (16, 9, 16))
    painted = saved_after(page, document)
    page.keyboard.press("2")
    paint(page, document, (12, 9, 16))
    erased = saved_after(page, document)
    page.keyboard.press("Control+z")
    undone = saved_after(page, document)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    page.keyboard.press("Control+Shift+Z")
    redone = saved_after(page, document)

    assert 0 < (painted != erased).sum() == (painted & ~erased & 1).sum()
    assert (undone == painted).all()
    assert (redone == erased).all()
    assert (painted[12, 9, 16], erased[12, 9, 16]) == (1, 0)


def test_every_tool_changes_what_it_should(page, document):
    page.keyboard.press("4")
    corners = ((6, 4, 16), (14, 4, 16), (14, 10, 16), (6, 10, 16))
    for corner in corners:
        page.mouse.click(*screen(page, document, corner))
    page.keyboard.press("Enter")
    polygon = saved_after(page, document)
    page.keyboard.press("6")
    page.locator("[data-name='take source']").select_option("B")
    page.locator("label[data-name='ball'] input").check()
    page.mouse.click(*screen(page, document, (38, 20, 16)))
    taken = saved_after(page, document)
    page.keyboard.press("Escape")
    page.locator("summary", has_text="Operations").click()
    page.get_by_label("Grow by (mm)").fill("2")
    act(page, "grow")
    said(page, "Grow by 2 mm:")
    grown = saved_after(page, document)
    page.keyboard.press("Control+z")
    after = saved_after(page, document)

    added = polygon.astype(bool) & ~document.mask.astype(bool)
    assert added[7:14, 5:10, 16].all()
    assert added.sum() <= 9 * 7
    bite = document.layers["B"][3].astype(bool) & ~document.mask.astype(bool)
    assert (taken.astype(bool) == polygon.astype(bool) | bite).all()
    away = ndimage.distance_transform_edt(taken == 0, sampling=document.spacing_mm)
    assert (grown.astype(bool) == (away <= 2)).all()
    assert (after == taken).all()


def test_keyboard_alone_paints_and_judges(page, document):
    page.keyboard.press("k")
    page.keyboard.press("1")
    before = page.locator("[data-name='volume']").inner_text()
    for _ in range(3):
        page.keyboard.press("[")
    for _ in range(12):
        page.keyboard.press("ArrowUp")
    page.keyboard.down("Space")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.up("Space")
    painted = saved_after(page, document)
    page.keyboard.press("a")
    page.wait_for_function("() => window.triggers.some(([name]) => name === 'act')")

    x, y, z = 24, 20 + 12, 16
    expected = document.mask.astype(bool)
    for step in range(3):
        # The left of the picture is the patient's right: x grows.
        expected |= disc(painted.shape, (x + step, y, z), 1.5, document.spacing_mm)
    assert page.locator("[data-name='volume']").inner_text() != before
    assert (painted.astype(bool) == expected).all()
    assert triggers(page, "act")[0]["action"] == "accept"
    assert page.evaluate("window.outside") == []


def test_unsaved_changes_hold_a_verdict_back_until_it_is_repeated(page, document):
    paint(page, document, (10, 9, 16))
    page.keyboard.press("x")
    said(page, "not saved")
    assert triggers(page, "act") == []
    page.keyboard.press("x")
    page.wait_for_function("() => window.triggers.length > 0")

    assert triggers(page, "act")[0]["action"] == "absent"


def test_n_goes_through_the_disputed_places_and_then_on(page, document):
    for place in document.disputed:
        page.keyboard.press("n")
        shown = ", ".join(str(value + 1) for value in place)
        page.locator("footer .number", has_text=shown).wait_for()
    page.keyboard.press("n")
    said(page, "Press again for the next item")
    page.keyboard.press("n")
    page.wait_for_function("() => window.triggers.length > 0")

    assert triggers(page, "act")[0]["action"] == "next"


def test_draft_survives_a_reload_and_a_lost_server(page, server, document):
    paint(page, document, (10, 9, 16))
    page.locator("[data-name='draft'][data-state='saved']").wait_for()
    first = document.draft.copy()
    server.is_down = True
    paint(page, document, (30, 4, 16))
    page.locator("[data-name='draft'][data-state='lost']").wait_for()
    server.is_down = False
    page.locator("[data-name='draft'][data-state='saved']").wait_for()
    kept = document.draft.copy()
    page.reload()
    show(page, document)
    said(page, "draft of")

    assert (first[10, 9, 16], first[30, 4, 16]) == (1, 0)
    assert (kept[10, 9, 16], kept[30, 4, 16]) == (1, 1)
    assert (saved_after(page, document) == kept).all()


def test_refusals_are_said_in_the_servers_words_and_lose_nothing(page, server, document):
    paint(page, document, (10, 9, 16))
    document.base_version = "v-2"
    page.keyboard.press("Control+s")
    said(page, "somebody saved a newer version")
    document.base_version = "v-1"
    server.is_down = True
    page.keyboard.press("Control+s")
    said(page, "cannot be reached")
    server.is_down = False

    assert document.saved == []
    assert saved_after(page, document)[10, 9, 16] == 1


def test_next_document_comes_without_a_remount_and_with_its_own_mask(
    page, serving, server, document
):
    page.evaluate("window.editorRoot().dataset.mark = 'same'")
    paint(page, document, (10, 9, 16))
    other = server.add(serving.made_document((40, 36, 24)))
    other.keys = {"accept": "j"}
    page.evaluate(
        "url => window.show({ document_url: url, status: 'Next', mode: 'look' })",
        f"/edit/{other.token}/document",
    )
    opened(page, other)

    assert document.draft[10, 9, 16] == 1
    assert page.evaluate("window.editorRoot().dataset.mark") == "same"
    page.keyboard.press("a")
    page.keyboard.press("j")
    page.wait_for_function("() => window.triggers.length > 0")
    (event,) = triggers(page, "act")
    assert event["document"] == other.as_json()["id"]


def test_both_ways_of_drawing_show_the_same_ct(page, document):
    """NiiVue and the canvas agree on every plane's place, direction and window."""
    page.keyboard.press("h")
    page.keyboard.press("o")
    drawn = picture(page)
    assert page.locator(".footer-message").inner_text().startswith("No graphics processor")
    show(page, document, renderer="webgl")
    page.keyboard.press("h")
    page.keyboard.press("o")
    rendered = picture(page)

    difference = np.abs(drawn.astype(int) - rendered.astype(int))
    assert drawn.std() > 40
    assert difference.mean() < 2.5
    assert np.abs(drawn.astype(int) - np.fliplr(rendered)).mean() > 10


def test_editor_goes_on_when_the_graphics_processor_is_lost(page, document):
    show(page, document, renderer="webgl")
    page.evaluate(
        """() => window.editorRoot().querySelector('.stage canvas').getContext('webgl2')
          .getExtension('WEBGL_lose_context').loseContext()"""
    )
    said(page, "graphics processor was lost")
    paint(page, document, (10, 9, 16))

    assert picture(page).std() > 40
    assert saved_after(page, document)[10, 9, 16] == 1


def test_interpolation_fills_between_two_drawn_slices_only_what_was_drawn(page, document):
    paint(page, document, (10, 9, 16))
    for _ in range(4):
        page.mouse.wheel(0, -100)
    page.locator("footer .number", has_text="25, 21, 21").wait_for()
    paint(page, document, (10, 9, 20))
    page.keyboard.press("i")
    found = saved_after(page, document)

    assert (found[:, :, 21:] == document.mask[:, :, 21:]).all()
    added = (found != document.mask).sum(axis=(0, 1))
    assert (added[16:21] > 0).all()
    assert added.sum() == added[16:21].sum()
    assert (found >= document.mask).all()


def test_widening_is_asked_for_with_the_draft_kept(page, document):
    paint(page, document, (10, 9, 16))
    page.locator("summary", has_text="Operations").click()
    act(page, "widen")
    page.wait_for_function("() => window.triggers.length > 0")

    assert triggers(page, "act")[0]["action"] == "widen"
    assert document.draft[10, 9, 16] == 1


def picture(page):
    """The stage as grey values."""
    page.wait_for_timeout(400)
    shot = page.locator(".stage").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("L"))


@pytest.fixture
def pointer(page):
    """Sends pens and fingers, which Playwright has no words for."""
    session = page.context.new_cdp_session(page)

    def press(device, points):
        if device == "finger":
            for kind, at in [
                ("Start", points[0]),
                *(("Move", at) for at in points[1:]),
                ("End", ()),
            ]:
                touches = [{"x": at[0], "y": at[1]}] if at else []
                session.send(
                    "Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": touches}
                )
            return
        steps = [("mousePressed", points[0]), *(("mouseMoved", at) for at in points[1:])]
        for kind, (x, y) in [*steps, ("mouseReleased", points[-1])]:
            place = {"x": x, "y": y, "button": "left", "buttons": int(kind != "mouseReleased")}
            session.send(
                "Input.dispatchMouseEvent",
                {"type": kind, "clickCount": 1, "pointerType": "pen", **place},
            )

    yield press
    session.detach()


@pytest.mark.parametrize("device", ["pen", "finger"])
def test_a_pen_and_a_finger_paint_as_the_mouse_does(page, document, pointer, device):
    start, end = (8, 9, 16), (14, 9, 16)
    page.evaluate(
        """() => { window.devices = new Set();
          window.editorRoot().querySelector('.stage').addEventListener(
            'pointerdown', (event) => window.devices.add(event.pointerType), { once: true }); }"""
    )
    page.keyboard.press("[")
    paint(page, document, start, end)
    by_mouse = saved_after(page, document)
    page.keyboard.press("Control+z")
    page.evaluate("() => { window.devices.clear(); }")
    page.evaluate(
        """() => window.editorRoot().querySelector('.stage').addEventListener(
          'pointerdown', (event) => window.devices.add(event.pointerType), { once: true })"""
    )

    middle = [((1 - t) * start[0] + t * end[0], 9, 16) for t in (0.25, 0.5, 0.75)]
    pointer(device, [screen(page, document, voxel) for voxel in (start, *middle, end)])
    found = saved_after(page, document)

    assert page.evaluate("[...window.devices]") == [{"pen": "pen", "finger": "touch"}[device]]
    assert (by_mouse != document.mask).sum() > 20
    np.testing.assert_array_equal(found, by_mouse)


def test_the_eraser_end_of_a_pen_erases(page, document):
    """No tool sends it, so its events are made in the page."""
    page.keyboard.press("[")
    x, y = screen(page, document, (24, 20, 16))
    page.evaluate(
        """([x, y]) => {
          const stage = window.editorRoot().querySelector('.stage');
          stage.setPointerCapture = () => {};
          const send = (kind, buttons) => stage.dispatchEvent(new PointerEvent(kind, {
            bubbles: true, composed: true, cancelable: true, pointerId: 7, pointerType: 'pen',
            clientX: x, clientY: y, button: 5, buttons }));
          send('pointerdown', 32); send('pointerup', 0);
          delete stage.setPointerCapture;
        }""",
        [x, y],
    )
    found = saved_after(page, document)

    erased = disc((48, 40, 32), (24, 20, 16), 2.5, document.spacing_mm)
    assert document.mask[erased].all()
    np.testing.assert_array_equal(found.astype(bool), document.mask.astype(bool) & ~erased)


def test_tab_goes_through_the_controls_in_the_order_in_which_they_stand(page):
    """Nothing is left out, gone to twice or a trap, and each part begins where its eye expects."""
    parts, total = page.evaluate(
        """() => {
          const found = [...window.editorRoot().querySelectorAll(
            'button, input, select, summary, [tabindex="0"]'
          )].filter((each) => !each.disabled && each.tabIndex >= 0 && each.checkVisibility());
          found.forEach((each, number) => { each.dataset.order = number; });
          found[0].focus();
          const parts = [...window.editorRoot().children];
          return [
            found.map((each) => parts.findIndex((part) => part.contains(each))), found.length,
          ];
        }"""
    )
    gone = []
    for _ in range(total):
        gone.append(
            page.evaluate(
                """() => { const each = window.editorRoot().getRootNode().activeElement;
                  const { order } = each.dataset;
                  return order ? Number(order) : each.outerHTML.slice(0, 99); }"""
            )
        )
        page.keyboard.press("Tab")

    assert total > 20
    assert gone == list(range(total))
    assert parts == sorted(parts)


def test_every_control_has_a_name_and_the_keys_are_shown(page):
    nameless = page.evaluate(
        """() => [...window.editorRoot().querySelectorAll('button, input, select, [tabindex]')]
          .filter((each) => !(each.textContent.trim() || each.getAttribute('aria-label')
            || each.closest('label')?.textContent.trim())).map((each) => each.outerHTML)"""
    )
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    listed = page.get_by_role("dialog").inner_text()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    focused = page.evaluate("window.editorRoot().getRootNode().activeElement.className")

    assert nameless == []
    assert "Next disputed place" in listed
    assert "Ctrl+Z" in listed
    assert focused.startswith("stage")


def test_keys_stay_with_the_pictures_after_a_click_on_a_control(page):
    page.get_by_label("Brush diameter").click()
    page.locator("label[data-name='gate'] input").click()
    page.get_by_label("Lowest HU painted").fill("0")
    page.keyboard.press("Enter")
    page.keyboard.press("2")

    eraser = page.locator("[data-name='eraser']")
    assert eraser.get_attribute("aria-pressed") == "true"
    assert page.get_by_label("Lowest HU painted").input_value() == "0"


def test_surface_is_drawn_on_request(page):
    page.keyboard.press("s")
    page.locator(".surface-view:not(.hidden)").wait_for()
    colours = page.evaluate(
        """() => { const canvas = window.editorRoot().querySelector('.surface-view');
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          let count = 0; for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
          return count / (canvas.width * canvas.height); }"""
    )

    assert 0.1 < colours < 0.9


def test_overlap_with_an_exclusive_neighbour_is_offered_and_sent(page, serving, server):
    crowded = serving.made_document()
    crowded.exclusive = ("spleen",)
    server.add(crowded)
    show(page, crowded)
    paint(page, crowded, (10, 18, 16))
    page.locator(".side .warning", has_text="from Spleen").click()
    saved_after(page, crowded)

    assert triggers(page, "save")[0]["transfer"] == ["spleen"]


def test_letters_beside_the_editor_are_its_keys_except_in_a_field(page):
    page.evaluate(
        """() => { const field = document.createElement("input"); field.id = "beside";
          document.body.append(field); field.focus(); }"""
    )
    page.keyboard.press("a")
    typed = page.evaluate(
        """() => { const field = document.getElementById("beside");
          const typed = field.value; field.remove(); return typed; }"""
    )
    assert (typed, triggers(page, "act")) == ("a", [])

    page.evaluate("document.activeElement?.blur()")
    page.evaluate("window.outside.length = 0")
    page.keyboard.press("a")
    page.wait_for_function("window.triggers.length > 0")

    (told,) = triggers(page, "act")
    assert (told["action"], told["dropping"]) == ("accept", False)
    assert page.evaluate("window.outside") == []
