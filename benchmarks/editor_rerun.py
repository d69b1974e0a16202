"""Time the app's rerun while the editor is open: from the browser's event to an idle page.

Run: python -m benchmarks.editor_rerun [--repeats 20] [--out FILE]

The real app, in headless Chromium, on CTs of twenty structures. What is timed starts at the press
of the mouse and ends when Streamlit says that no script runs, as its page shows it; so the way to
the server and back, the whole script with its reads of the database, and the drawing are in it. A
run that ends before the page shows that it began is counted, and left out of the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chromium import WINDOW, chromium
from benchmarks.edit_memory import workspace
from benchmarks.machine import describe
from benchmarks.review_server import ReviewServer

AIM_MS = 300
# Armed before the press; the script starts after it and ends once more for each rerun.
WATCH = """() => {
  const app = document.querySelector("[data-test-script-state]");
  let pressed = null, hasRun = false;
  window.rerun = new Promise((done) => {
    const noted = (event) => {
      pressed = event.timeStamp;
      setTimeout(() => { if (!hasRun) done(null); }, 3000);
    };
    addEventListener("pointerdown", noted, { once: true, capture: true });
    const seen = new MutationObserver(() => {
      if (pressed === null) return;
      const state = app.dataset.testScriptState;
      if (state !== "notRunning") hasRun = true;
      else if (hasRun) { seen.disconnect(); done(performance.now() - pressed); }
    });
    seen.observe(app, { attributes: true, attributeFilter: ["data-test-script-state"] });
  });
}"""


def main() -> None:
    """Start the app, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here, case_ids = workspace(Path(folder), 2)
        with (
            ReviewServer(here.store.workspace.root, reader=here.reader) as server,
            chromium() as browser,
        ):
            page = browser.new_page(viewport=WINDOW)
            page.set_default_timeout(180_000)
            page.goto(f"{server.url}/?view=case&case={case_ids[0]}")
            ready(page)
            times = {
                "a tag is chosen": tagged(page, arguments.repeats),
                "another structure is chosen": chosen(page, arguments.repeats),
            }
    lines = [
        f"{describe('streamlit', 'duckdb', 'playwright')}; headless Chromium, 1280 x 800; "
        f"{arguments.repeats} times each, load average {os.getloadavg()[0]:.1f}",
        "",
        "| what, with the editor open | median ms | worst ms | aim ms |",
        "|---|---|---|---|",
        *(line(what, found) for what, found in times.items()),
    ]
    print("\n".join(lines))
    if arguments.out:
        command = f"`python -m benchmarks.editor_rerun --repeats {arguments.repeats}`"
        title = "# The app's rerun while the editor is open\n\n"
        arguments.out.write_text(f"{title}{command}\n\n" + "\n".join(lines) + "\n")


def line(what: str, found: Sequence[float | None]) -> str:
    """Return a line of the table."""
    seen = [ms for ms in found if ms is not None]
    unseen = len(found) - len(seen)
    words = f"{what} ({unseen} too short to be seen)" if unseen else what
    if not seen:
        return f"| {words} | | | {AIM_MS} |"
    return f"| {words} | {statistics.median(seen):.0f} | {max(seen):.0f} | {AIM_MS} |"


def ready(page, *, after: str = "") -> None:
    """Wait until the editor has its item, another than the one before, and no script runs."""
    page.locator(f'.editor[data-layers=ready]:not([data-document="{after}"])').wait_for()
    page.wait_for_timeout(500)
    page.locator("[data-test-script-state=notRunning]").wait_for()


def pressed(page, target) -> float | None:
    """Press something; returns the ms until the page is idle, None if its run was not seen."""
    target.scroll_into_view_if_needed()
    page.evaluate(WATCH)
    target.click()
    return page.evaluate("window.rerun")


def tagged(page, times) -> list[float | None]:
    """Turn a tag on and off."""
    tag = page.locator("[class*=st-key-tags-] button").first
    return [pressed(page, tag) for _ in range(times)]


def chosen(page, times) -> list[float | None]:
    """Turn from one structure to the next and back; the editor gets another document each time."""
    lines = page.locator(".st-key-structures button")
    found = []
    for turn in range(times):
        before = page.locator(".editor").get_attribute("data-document")
        found.append(pressed(page, lines.nth(1 + turn % 2)))
        ready(page, after=before)
    return found


if __name__ == "__main__":
    main()
