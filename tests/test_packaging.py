"""The distribution holds our packages, whole and alone; no file ties it to one machine."""

import fnmatch
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = ["configs", "flows", "model", "review_app", "storage"]

# Written in parts, so that this file does not name what it looks for.
REGISTRY_HOSTS = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "download." + "pytorch.org",
    "npm" + "js.",
    "npm" + "mirror.",
    "yarn" + "pkg.",
    "conda." + "anaconda.org",
    "crates" + ".io",
    "proxy." + "golang.org",
    "deb." + "debian.org",
    "archive." + "ubuntu.com",
    "pkg." + "dev",
]
# A folder of one machine at the start of a path; "~/work", "x/root" and "https://h/home" are none.
MACHINE_PATH = re.compile(r"(?<![\w.~:/$}*-])/(?:work|opt|root|home|mnt|Users|Volumes)/[\w.]")

# Written where the tests of the wheel run: what is tested must be what was installed there.
ORIGIN_TEST = """
import importlib
import os
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", {names!r})
def test_module_comes_from_the_wheel(name):
    module = importlib.import_module(name)

    assert Path(module.__file__).is_relative_to(os.environ["WHEEL_FOLDER"])
"""


def project() -> dict[str, dict]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def shipped_files() -> set[str]:
    """Every file of the packages, as it stands on disk, without what Python makes beside it.

    The editor's source stays in the repository: a wheel carries what is built of it.
    """
    paths = (path for name in TOP_LEVEL for path in (ROOT / name).rglob("*") if path.is_file())
    relative = (path.relative_to(ROOT) for path in paths)
    left_out = {"__pycache__", "frontend"}
    return {path.as_posix() for path in relative if left_out.isdisjoint(path.parts)}


def tracked_texts() -> list[tuple[str, str]]:
    """Name and text of every file that git tracks; binary files are left out."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed: no list of tracked files")
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: no list of tracked files")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    contents = [(name, (ROOT / name).read_bytes()) for name in names if (ROOT / name).is_file()]
    return [(name, content.decode()) for name, content in contents if b"\0" not in content]


def test_package_list_equals_the_packages_on_disk() -> None:
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for name in TOP_LEVEL
        for path in (ROOT / name).rglob("*.py")
    }

    assert sorted(project()["tool"]["setuptools"]["packages"]) == sorted(on_disk)


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for name in TOP_LEVEL for path in (ROOT / name).rglob("*.py")}

    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_top_level_name_belongs_to_our_distribution_alone(name: str) -> None:
    owners = importlib.metadata.packages_distributions()
    if "flows" not in owners and not os.environ.get("ATLASLOOP_REQUIRE"):
        pytest.skip("AtlasLoop is not installed here, only on the path; make test installs it")

    assert set(owners.get(name, [])) == {"atlasloop"}


def test_command_is_named_after_the_distribution() -> None:
    assert project()["project"]["scripts"] == {"atlasloop": "flows.cli:main"}


def test_every_pin_allows_what_the_project_asks_for() -> None:
    packaging = pytest.importorskip("packaging.requirements")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    groups = project()["project"]
    wanted = groups["dependencies"] + groups["optional-dependencies"]["dev"]

    for requirement in map(packaging.Requirement, wanted):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins, f"{name} has no pin in constraints.txt"
        assert pins[name] in requirement.specifier, f"{name}=={pins[name]} breaks {requirement}"


def test_pins_name_no_address_and_no_platform() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]

    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert [line for line in lines if re.match(r"nvidia|cuda|triton", line)] == []


def test_no_tracked_file_names_a_package_registry() -> None:
    found = [
        f"{name}: {host}"
        for name, text in tracked_texts()
        for host in REGISTRY_HOSTS
        if host in text
    ]

    assert found == []


def test_no_tracked_file_holds_a_path_of_one_machine() -> None:
    found = [
        f"{name}: {match.group()}"
        for name, text in tracked_texts()
        for match in MACHINE_PATH.finditer(text)
    ]

    assert found == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("cd /wo" + "rk/main", True),
        ('open("/ho' + 'me/me/ct.nii")', True),
        ("~/wo" + "rk/ct", False),
        ("shared/wo" + "rk/ct", False),
        ("https://host/home/page", False),
    ],
)
def test_machine_path_is_told_from_a_relative_one(text: str, is_found: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) == is_found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy: the checkout stays clean, and no old build leaks into it."""
    source = tmp_path_factory.mktemp("source")
    for name in TOP_LEVEL:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", str(source))
    (built,) = (source / "dist").glob("*.whl")
    return built


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    finished = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def copy_test(name: str, folder: Path) -> None:
    source, target = ROOT / "tests" / name, folder / "tests" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    copy = shutil.copytree if source.is_dir() else shutil.copy
    copy(source, target)


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_packages_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {name for name in names if ".dist-info/" not in name}

    assert code == shipped_files()
    assert fnmatch.filter(names, "atlasloop-*.dist-info/licenses/LICENSE")


@pytest.mark.slow
def test_installed_wheel_passes_tests_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--no-deps", "--no-index", "--target", str(installed), str(wheel))
    # Settings and taxonomy read their TOML files, and a new store runs the SQL migrations.
    for name in ("conftest.py", "configs", "storage/test_store.py"):
        copy_test(name, elsewhere)
    packages = project()["tool"]["setuptools"]["packages"]
    (elsewhere / "test_origin.py").write_text(ORIGIN_TEST.format(names=packages), encoding="utf-8")

    pytest_command = [sys.executable, "-P", "-m", "pytest", "--import-mode=importlib", "-q"]
    # The second folder lets a test's child processes find the test itself.
    path = os.pathsep.join([str(installed), str(elsewhere)])
    environment = {"PYTHONPATH": path, "WHEEL_FOLDER": str(installed)}
    output = run(*pytest_command, "-m", "not slow", ".", cwd=elsewhere, **environment)

    assert re.search(r"\d+ passed", output)
