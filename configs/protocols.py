"""Protocols: what belongs to each structure and where it ends, as data that a workspace replaces.

A protocol is named by the hash of all that it says, its picture included, so that a verdict can
tell which words its reader had before his eyes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.errors import ConfigError
from configs.taxonomy import load_taxonomy

_MOST_PICTURE_BYTES = 200_000


class Protocol(BaseModel):
    """The definition of a structure, or of both of a pair.

    Attributes:
        version: Counts what its author published; the hash tells apart what shares a number.
        structures: Names in the taxonomy.
        summary: One sentence.
        includes: What belongs to the mask.
        excludes: What does not.
        limits: Where it begins and ends.
        pitfalls: What readers get wrong.
        picture: A drawing as SVG; empty where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    structures: tuple[str, ...] = Field(min_length=1)
    summary: str = Field(min_length=1)
    includes: tuple[str, ...] = Field(min_length=1)
    excludes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    pitfalls: tuple[str, ...] = ()
    picture: str = ""


def load_protocols(folder: Path | None = None) -> Mapping[str, Protocol]:
    """Return the protocol of each structure that has one; a folder's go before the shipped ones.

    Args:
        folder: A workspace's own protocols, ``*.toml`` with their pictures; may be missing.

    Raises:
        ConfigError: A file breaks a rule.
    """
    found = dict(_shipped())
    if folder is not None and folder.is_dir():
        found.update(_own(_state(folder)))
    return {name: found[name] for name in load_taxonomy().names if name in found}


@cache
def _shipped() -> Mapping[str, Protocol]:
    folder = resources.files("configs").joinpath("protocols")
    return _by_structure(entry for entry in folder.iterdir() if entry.name.endswith(".toml"))


_State = tuple[Path, tuple[tuple[str, int, int], ...]]


def _state(folder: Path) -> _State:
    """Return a folder with what changes when one of its files does."""
    files = [path for path in folder.iterdir() if path.suffix in (".toml", ".svg")]
    stats = sorted((path.name, path.stat()) for path in files if path.is_file())
    return folder, tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


_READ: dict[Path, tuple[_State, Mapping[str, Protocol]]] = {}


def _own(state: _State) -> Mapping[str, Protocol]:
    """Read a folder's protocols again only when a file of it changed."""
    folder = state[0]
    known = _READ.get(folder)
    if known is None or known[0] != state:
        files = [folder / name for name, *_ in state[1] if name.endswith(".toml")]
        known = _READ[folder] = (state, _by_structure(files))
    return known[1]


def _by_structure(files: Iterable[Traversable]) -> Mapping[str, Protocol]:
    known = load_taxonomy().names
    found: dict[str, Protocol] = {}
    for file in sorted(files, key=lambda file: file.name):
        protocol = _read(file)
        for name in protocol.structures:
            if name not in known:
                raise ConfigError(f"protocol {file.name} must name known structures, got {name!r}")
            if name in found:
                raise ConfigError(f"a structure has one protocol; {file.name} is another of {name}")
            found[name] = protocol
    return found


def _read(file: Traversable) -> Protocol:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        picture = content.get("picture", "")
        if picture:
            content["picture"] = _picture(file, str(picture))
        return Protocol.model_validate(content)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"protocol {file.name} is not valid: {error}") from error


def _picture(file: Traversable, name: str) -> str:
    if "/" in name or "\\" in name or not name.endswith(".svg"):
        raise ConfigError(f"the picture of protocol {file.name} is an .svg beside it, got {name!r}")
    folder = file.parent if isinstance(file, Path) else _shipped_folder()
    text = folder.joinpath(name).read_text(encoding="utf-8")
    if len(text) > _MOST_PICTURE_BYTES or "<svg" not in text:
        raise ConfigError(
            f"{name} must be an SVG of at most {_MOST_PICTURE_BYTES} characters, got {len(text)}"
        )
    return text


def _shipped_folder() -> Traversable:
    return resources.files("configs").joinpath("protocols")
