"""What importing each package must not load, seen from outside in fresh interpreters.

The import contracts read the source; these tests catch what they cannot see, above all what a
library brings along.
"""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import configs

ROOT = Path(configs.__file__).parents[1]

# MONAI imports nibabel where it is installed, and takes seconds: only this module may load it, and
# only a caller who wants this backbone may load this module.
NEEDS_MONAI = "model.swin_unetr"

# Imports the modules in turn and prints which of the watched names each was the first to load.
PROBE = """
import importlib, json, sys
watched, modules = json.loads(sys.argv[1]), json.loads(sys.argv[2])
seen, loads = set(), {}
for module in modules:
    importlib.import_module(module)
    new = [name for name in watched if name in sys.modules and name not in seen]
    seen.update(new)
    if new:
        loads[module] = new
print(json.dumps(loads))
"""


def modules_of(package: str) -> list[str]:
    paths = importlib.import_module(package).__path__
    found = pkgutil.walk_packages(paths, prefix=f"{package}.")
    return [package, *(module.name for module in found)]


def run_python(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def loads_of(modules: list[str], watched: list[str]) -> dict[str, list[str]]:
    return json.loads(run_python(PROBE, json.dumps(watched), json.dumps(modules)))


def test_the_probe_names_the_module_that_loads_a_watched_name() -> None:
    loads = loads_of(["configs.errors", "model.metrics"], ["numpy", "torch"])

    assert loads == {"model.metrics": ["numpy"]}


def test_configs_loads_nothing_heavy() -> None:
    heavy = ["numpy", "scipy", "torch", "monai", "nibabel", "duckdb", "prefect", "streamlit"]

    assert loads_of(modules_of("configs"), heavy) == {}


def test_storage_loads_no_network_scheduler_or_page_library() -> None:
    unwanted = ["torch", "monai", "open_clip", "prefect", "streamlit"]

    assert loads_of(modules_of("storage"), unwanted) == {}


def test_model_loads_no_file_database_scheduler_or_page_library() -> None:
    modules = [module for module in modules_of("model") if module != NEEDS_MONAI]

    assert loads_of(modules, ["nibabel", "duckdb", "prefect", "streamlit", "monai"]) == {}


@pytest.mark.slow
def test_the_module_on_monai_imports_where_those_libraries_are_missing() -> None:
    absent = "dict.fromkeys(['nibabel', 'duckdb', 'prefect', 'streamlit'])"

    code = f"import sys; sys.modules.update({absent}); import {NEEDS_MONAI}; print('imported')"

    assert run_python(code).strip() == "imported"


@pytest.mark.parametrize(
    "module",
    [
        *("model.agreement_report", "model.metrics", "model.triage.policies"),
        *("model.ranking_quality", "model.scores"),
    ],
)
def test_numbers_that_the_app_shows_need_no_torch(module: str) -> None:
    assert loads_of([module], ["torch", "monai", "open_clip"]) == {}


def test_review_app_loads_no_network_or_scheduler_library() -> None:
    assert loads_of(modules_of("review_app"), ["torch", "monai", "open_clip", "prefect"]) == {}


def test_the_command_line_loads_nothing_heavy_before_it_knows_the_verb() -> None:
    heavy = ["numpy", "scipy", "torch", "monai", "nibabel", "duckdb", "prefect", "streamlit"]

    assert loads_of(["flows.cli"], heavy) == {}


def test_what_prepares_for_prefect_loads_it_not_before_the_environment_is_right() -> None:
    assert loads_of(["flows.serve", "flows.prefect_server"], ["prefect", "torch"]) == {}


def test_the_flows_load_no_network_library_before_there_is_work() -> None:
    assert loads_of(modules_of("flows.scheduled"), ["torch", "monai"]) == {}


@pytest.mark.parametrize("package", ["configs", "storage", "model", "flows", "review_app"])
def test_package_files_are_empty(package: str) -> None:
    folder = ROOT / package

    filled = [path for path in folder.rglob("__init__.py") if path.read_text(encoding="utf-8")]

    assert filled == []
