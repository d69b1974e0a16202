"""The page part's modules under node, and the built file that belongs to them."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from review_app.mask_editor import assets

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / "review_app" / "mask_editor" / "frontend"
INSTALLED = Path(assets.__file__).parent


def record():
    return json.loads((INSTALLED / "build.json").read_text())


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# What a test imports reaches a package that only `npm ci` brings.
NEEDS_PACKAGES = {"whole_mask.test.mjs"}


def test_modules_hold_under_node(node):
    files = sorted((HERE / "frontend").glob("*.test.mjs"))
    if not (SOURCE / "node_modules" / "fflate").exists():
        files = [file for file in files if file.name not in NEEDS_PACKAGES]
    run = subprocess.run(
        [node, "--test", *files], capture_output=True, text=True, timeout=120, check=False
    )

    assert len(files) >= 8
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


def test_built_file_belongs_to_the_sources():
    known = record()
    written = {
        str(path.relative_to(SOURCE))
        for path in (*SOURCE.glob("src/*"), *SOURCE.glob("*.*"), *SOURCE.glob("licences/*"))
        if path.is_file() and path.name != ".npmrc"
    }

    assert written == set(known["sources"])
    changed = [name for name, digest in known["sources"].items() if sha256(SOURCE / name) != digest]
    assert changed == [], "run `npm ci && node build.mjs` in the frontend folder"


def test_installed_files_are_the_recorded_ones_and_no_others():
    known = record()
    built = {path.name: sha256(path) for path in (INSTALLED / "assets").iterdir()}

    assert built == known["assets"]
    assert known["entry"] in built
    assert sha256(INSTALLED / "THIRD_PARTY.txt") == known["third_party_sha256"]


def test_building_again_gives_the_same_bytes(tmp_path):
    if not (SOURCE / "node_modules" / "esbuild").exists() or shutil.which("node") is None:
        pytest.skip("needs node and `npm ci` in review_app/mask_editor/frontend")
    subprocess.run(
        ["node", "build.mjs", "--out", tmp_path], cwd=SOURCE, check=True, capture_output=True
    )

    names = ("build.json", "THIRD_PARTY.txt", *(f"assets/{name}" for name in record()["assets"]))
    for name in names:
        assert (tmp_path / name).read_bytes() == (INSTALLED / name).read_bytes()


def test_lock_file_names_no_download_address_and_pins_every_version():
    lock = (SOURCE / "package-lock.json").read_text()
    wanted = json.loads((SOURCE / "package.json").read_text())

    assert "resolved" not in lock
    assert "://" not in re.sub(r'"(funding|url)": (\{[^}]*\}|"[^"]*")', "", lock)
    assert (SOURCE / ".npmrc").read_text() == "omit-lockfile-registry-resolved=true\n"
    versions = (*wanted["dependencies"].values(), *wanted["devDependencies"].values())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)


def test_every_package_in_the_built_file_is_listed_with_its_licence():
    listed = (INSTALLED / "THIRD_PARTY.txt").read_text()
    lock = json.loads((SOURCE / "package-lock.json").read_text())["packages"]

    for name in ("@niivue/niivue", "fflate", "gl-matrix", "nifti-reader-js"):
        entry = lock[f"node_modules/{name}"]
        assert f"\n{name} {entry['version']} (" in listed
    assert listed.count("Copyright (c)") >= 8
    assert "Changed at build time" in listed


def test_built_files_name_no_place_of_the_build():
    for path in (INSTALLED / "assets").iterdir():
        code = path.read_text()
        assert "node_modules" not in code
        assert str(SOURCE) not in code
