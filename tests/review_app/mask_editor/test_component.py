"""The editor within Streamlit: it survives reruns, takes the next item, and its words come once."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SERVER = """
import os, sys
sys.path.insert(0, {here!r})
import editor_server, streamlit as st
served = editor_server.EditorServer()
for number in (1, 2):
    document = served.add(editor_server.made_document((32, 28, 12)))
    os.environ[f"DOCUMENT_{{number}}"] = f"/edit/{{document.token}}/document"
own = [route for route in served.app.routes if not route.path.startswith("/page")]
app = st.App({page!r}, routes=own)
"""
PAGE = """
import json, os
import streamlit as st
from review_app.mask_editor.component import mask_editor
st.button("Rerun")
number = 2 if st.toggle("Next") else 1
event = mask_editor(os.environ[f"DOCUMENT_{number}"], status=None, mode="edit", height_px=560)
st.session_state.runs = st.session_state.get("runs", 0) + 1
st.code(json.dumps({"save": event.save, "act": event.act, "runs": st.session_state.runs}))
"""


@pytest.fixture
def address(tmp_path):
    """Streamlit on a page with the editor; its watchers are off, as in the app."""
    page, server = tmp_path / "page.py", tmp_path / "server.py"
    page.write_text(PAGE)
    server.write_text(SERVER.format(here=str(Path(__file__).parent), page=str(page)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "server.port": port,
        "server.address": "127.0.0.1",
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    child = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(server), *flags],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    for _ in range(600):
        with socket.socket() as probe:
            if child.poll() is not None or probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    child.terminate()
    child.wait(30)


def shown(page, runs):
    """What the page's script got from the editor in a given run."""
    code = page.locator("[data-testid='stCode']", has_text=f'"runs": {runs}}}')
    code.wait_for()
    return json.loads(code.inner_text())


@pytest.mark.browser
@pytest.mark.slow
def test_editor_lives_through_reruns_and_tells_python_each_thing_once(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(40_000)
    page.goto(address)
    ready = page.locator(".editor[data-layers='ready']")
    ready.wait_for()
    first = ready.get_attribute("data-document")
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + 90, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 90, steps=4)
    page.mouse.up()
    page.keyboard.press("Control+s")
    saved = shown(page, 2)
    page.get_by_role("button", name="Rerun").click()
    rerun = shown(page, 3)
    undo = page.locator("[data-name='undo']")

    assert saved["save"]["document"] == first
    assert saved["save"]["receipt"]["voxels_changed"] > 0
    assert rerun["save"] is None
    assert undo.is_enabled()
    page.locator(".stage").focus()
    # Streamlit's own key for "rerun" and "clear cache": the editor keeps them to itself.
    page.keyboard.press("c")
    page.keyboard.press("r")
    assert shown(page, 4)["act"]["action"] == "reject"
    assert page.get_by_role("dialog").count() == 0
    page.get_by_text("Next", exact=True).click()
    page.locator(f".editor[data-layers='ready']:not([data-document='{first}'])").wait_for()
    assert undo.is_disabled()
    assert page.locator(".editor").count() == 1
    page.close()
