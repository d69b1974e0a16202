"""Every page as axe-core reads it, light and dark: contrast, names, labels, roles."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from benchmarks.chromium import WINDOW
from benchmarks.review_server import ReviewServer
from review_app import editor_panel
from storage.assignments import assign_readings
from tests.review_app.editor_page import SETTINGS, settled

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not editor_panel.is_built(), reason="needs the editor's page part"),
]

# Of Streamlit's own upload field, which has both a role and a name.
OPTIONS = {"rules": {"presentation-role-conflict": {"enabled": False}}}
# Controls that are switched off may be pale; axe sees this one's words apart from its field.
EXCLUDED = ["[aria-disabled=true]", "[data-disabled=true]", "[disabled]"]


@pytest.fixture(scope="module")
def made(annotated_in, tmp_path_factory):
    """Two cases: one to judge, with verdicts and what they differ in, and a reading."""
    return annotated_in(tmp_path_factory.mktemp("read"), cases=2)


@pytest.fixture(scope="module")
def server(made, make_readings, browser):
    readings, (first, second) = make_readings(made), made.case_ids
    readings.review(first, "stomach", "correct", mask=readings.ball(first, centre=0.3, radius=0.2))
    for reader, radius in (("anna", 0.3), ("bert", 0.25)):
        readings.read(
            second, "liver", reader=reader, mask=readings.ball(second, centre=0.3, radius=radius)
        )
    assign_readings(made.store, reader="anna", case_ids=[second], structures=["spleen"])
    with ReviewServer(made.store.workspace.root, settings=SETTINGS) as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("address", "waits_for", "presses"),
    [
        ("view=queue", "[class*=st-key-ct-]", None),
        ("view=case&case={0}&structure=liver", ".editor[data-layers=ready]", None),
        ("view=case&case={0}&structure=liver", ".editor[data-layers=ready]", "Back to slices"),
        ("view=readings", ".editor[data-layers=ready]", None),
        ("view=versions&case={0}&structure=stomach", "[data-testid=stImage] img", None),
        ("view=dashboard", "[data-testid=stVegaLiteChart]", "Compare now"),
    ],
    ids=["queue", "editor", "slices", "reading", "versions", "dashboard"],
)
def test_page_can_be_read(made, server, browser, scheme, address, waits_for, presses):
    with browser.new_context(viewport=WINDOW, color_scheme=scheme) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(f"{server.url}/?{address.format(*made.case_ids)}")
        page.locator(waits_for).first.wait_for()
        if presses:
            page.get_by_role("button", name=presses).click()
        settled(page)

        found = Axe().run(page, context={"exclude": EXCLUDED}, options=OPTIONS)

    assert [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found.response["violations"]
    ] == []
    assert len(found.response["passes"]) > 10
