"""Headless Chromium, as every benchmark and test of the pages drives it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path(os.environ.get("ATLASLOOP_CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # WebGL2 without a graphics processor, for NiiVue.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
WINDOW = {"width": 1280, "height": 800}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser; its contexts are browsers of their own, with cookies of their own.

    While it runs, its event loop is this thread's, and no other may be.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(FLAGS)
        )
        yield opened
        opened.close()
