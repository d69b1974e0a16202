"""Time the voxel editor in headless Chromium: next item, brush, slices, window, undo, save.

Run: python -m benchmarks.editor_page [--sides 100 200] [--repeats 5] [--out FILE]

A small server in this process serves regions of synthetic voxels by the editor's contract, so
what is timed is the page and the wire, not the reading of CTs. Both ways of drawing are timed: the
canvas (what the editor chooses without a graphics processor) and NiiVue on WebGL2 in software.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.chromium import WINDOW, chromium
from benchmarks.machine import describe

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tests" / "review_app" / "mask_editor" / "editor_server.py"
AIMS = {
    ("next item to ready", 100): 3000,
    ("next item to ready", 200): 10_000,
    ("brush event to screen", 100): 150,
    ("brush event to screen", 200): 150,
}
# Two frames after the change the first of them is on the screen: an upper bound.
PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
NEXT = """async ([url, id, renderer]) => {
  const started = performance.now();
  window.show({ document_url: url, status: null, mode: "edit", renderer });
  await new Promise((done) => {
    const look = () => {
      const { state, document } = window.editorRoot().dataset;
      if (state === "failed" || (state === "ready" && document === id)) done();
      else setTimeout(look, 5);
    };
    look();
  });
  if (window.editorRoot().dataset.state === "failed") throw new Error("the item did not open");
  await PAINTED;
  return performance.now() - started;
}""".replace("PAINTED", PAINTED)
WATCH = """name => {
  window.samples = [];
  window.watch?.abort();
  window.watch = new AbortController();
  window.editorRoot().querySelector(".stage").addEventListener(name, async (event) => {
    if (event.key === "Control") return;
    const at = event.timeStamp;
    await PAINTED;
    window.samples.push(performance.now() - at);
  }, { signal: window.watch.signal });
}""".replace("PAINTED", PAINTED)


def main() -> None:
    """Time every size with both ways of drawing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = measured(arguments.sides, arguments.repeats)
    lines = [
        f"{describe('playwright', 'starlette', 'numpy')}; headless Chromium, software rendering "
        f"(SwiftShader), 1280 x 800; {arguments.repeats} items a row, load average "
        f"{os.getloadavg()[0]:.1f}",
        "",
        "| region | drawn by | what | median ms | worst ms | aim ms |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    print("\n".join(lines))
    if arguments.out:
        command = f"`python -m benchmarks.editor_page --repeats {arguments.repeats}`"
        title = "# The voxel editor's page part\n\n"
        arguments.out.write_text(title + command + "\n\n" + "\n".join(lines) + "\n")


def measured(sides: list[int], repeats: int) -> list[str]:
    """Return the table's rows."""
    serving = loaded_server()
    rows: list[str] = []
    with serving.EditorServer().running() as server:
        for side in sides:
            document = serving.made_document((side, side, side), (0.8, 0.8, 1.0))
            for renderer in ("canvas", "webgl"):
                with chromium() as opened:
                    page = opened.new_page(viewport=WINDOW)
                    page.set_default_timeout(180_000)
                    found = timed(page, server, document, renderer, repeats)
                rows += [row(side, renderer, what, times) for what, times in found.items()]
    return rows


def loaded_server() -> ModuleType:
    """Return the tests' server, which no package holds."""
    spec = importlib.util.spec_from_file_location("editor_server", SERVER)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{SERVER} is missing; run this in the project's folder")
    module = importlib.util.module_from_spec(spec)
    sys.modules["editor_server"] = module
    spec.loader.exec_module(module)
    return module


def timed(
    page: Any, server: Any, document: Any, renderer: str, repeats: int
) -> dict[str, list[float]]:
    """Return the times in ms of every kind of action on one size of region."""
    first = served_copy(server, document)
    page.goto(server.page(first, f"renderer={renderer}"))
    page.wait_for_function("() => window.editorRoot?.()?.dataset.layers === 'ready'")
    found = {"next item to ready": []}
    for _ in range(repeats):
        item = served_copy(server, document)
        given = [f"/edit/{item.token}/document", item.as_json()["id"], renderer]
        found["next item to ready"].append(page.evaluate(NEXT, given))
        page.wait_for_function("() => window.editorRoot().dataset.layers === 'ready'")
    found["brush event to screen"] = brushed(page)
    found["slice by the wheel to screen"] = wheeled(page)
    found["window step to screen"] = stepped(page, "w", 12)
    found["undo to screen"] = stepped(page, "Control+z", 1)
    found["save to receipt"] = saved(page, repeats)
    return found


def served_copy(server: Any, document: Any) -> Any:
    """Serve the same voxels as a new document."""
    kind = type(document)
    return server.add(
        kind(
            ct=document.ct,
            mask=document.mask,
            spacing_mm=document.spacing_mm,
            layers=document.layers,
            disputed=document.disputed,
        )
    )


def samples(page: Any) -> list[float]:
    """Return the times that the page's listener took since it was set."""
    page.wait_for_timeout(1500)
    return page.evaluate("window.samples")


def brushed(page: Any) -> list[float]:
    """Paint a long stroke with a brush of 12 mm and time each move."""
    box = page.locator(".stage").bounding_box()
    for _ in range(4):
        page.keyboard.press("]")
    page.mouse.move(box["x"] + 120, box["y"] + 150)
    page.mouse.down()
    page.evaluate(WATCH, "pointermove")
    for step in range(60):
        page.mouse.move(box["x"] + 120 + 6 * step, box["y"] + 150 + 4 * (step % 20))
        page.wait_for_timeout(20)
    page.mouse.up()
    return samples(page)


def wheeled(page: Any) -> list[float]:
    """Turn slices by the wheel."""
    page.evaluate(WATCH, "wheel")
    for step in range(20):
        page.mouse.wheel(0, 100 if step % 10 < 5 else -100)
        page.wait_for_timeout(60)
    return samples(page)


def stepped(page: Any, key: str, times: int) -> list[float]:
    """Press a key some times."""
    page.evaluate(WATCH, "keydown")
    for _ in range(times):
        page.keyboard.press(key)
        page.wait_for_timeout(60)
    return samples(page)


def saved(page: Any, times: int) -> list[float]:
    """Redo, undo and save: from the key to the trigger that tells Python."""
    found = []
    for turn in range(times):
        page.keyboard.press("Control+y" if turn % 2 == 0 else "Control+z")
        page.keyboard.press("e")
        found.append(page.evaluate(SAVE))
    return [time for time in found if time is not None]


SAVE = """async () => {
  const root = window.editorRoot();
  const before = window.triggers.length;
  const started = performance.now();
  root.querySelector("[data-name=save]").click();
  for (let i = 0; i < 2000 && window.triggers.length === before; i++) {
    const said = root.querySelector(".footer-message").textContent;
    if (said.startsWith("Nothing is changed")) return null;
    await new Promise((done) => setTimeout(done, 5));
  }
  return performance.now() - started;
}"""


def row(side: int, renderer: str, what: str, times: list[float]) -> str:
    """Return one line of the table."""
    drawn = {"canvas": "canvas", "webgl": "NiiVue, WebGL2 in software"}[renderer]
    aim = AIMS.get((what, side), "")
    if not times:
        raise RuntimeError(f"no time was taken of {what!r}")
    middle = statistics.median(times)
    return f"| {side}^3 | {drawn} | {what} | {middle:.0f} | {max(times):.0f} | {aim} |"


if __name__ == "__main__":
    main()
