"""Tensors out of a weights file that somebody else wrote, without running anything in it."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from configs.errors import ModelError

WRAPPERS = ("net", "state_dict", "network_weights", "model_state_dict", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        tensors: By the names of the file, on the CPU.
        wrappers: Entries that had to be opened to reach them, outermost first.
        left_aside: Other entries, such as an optimiser's state; never used.
    """

    tensors: Mapping[str, Tensor]
    wrappers: tuple[str, ...]
    left_aside: tuple[str, ...]


def read_weights_file(path: Path) -> WeightsFile:
    """Read a ``.safetensors`` file, or what ``torch.save`` wrote, tensors only.

    Raises:
        ModelError: The file is missing, damaged or of another kind, a pickle that holds more than
            tensors and plain values, or it holds no tensors.
    """
    if not path.is_file():
        raise ModelError(f"the weights file {path.name} is missing; name an existing file")
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    wrappers: list[str] = []
    left_aside: list[str] = []
    while (inner := _wrapper(content)) is not None:
        left_aside.extend(str(key) for key in content if key != inner)
        wrappers.append(inner)
        content = cast(Mapping[object, object], content[inner])
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(
            f"a weights file holds named tensors, {path.name} holds "
            f"{sorted(str(key) for key in content)[:8] or 'nothing'}; they are looked for at the "
            f"top and in {', '.join(WRAPPERS)}"
        )
    left_aside.extend(str(key) for key in content if str(key) not in tensors)
    return WeightsFile(
        tensors=tensors, wrappers=tuple(wrappers), left_aside=tuple(sorted(left_aside))
    )


def _safetensors(path: Path) -> Mapping[object, object]:
    try:
        return cast(Mapping[object, object], load_file(path))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name} is not a whole safetensors file: {error}") from error


def _pickled(path: Path) -> Mapping[object, object]:
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_sums(path)
    try:
        # Mapped, so that an optimiser's state, twice the weights, is never read.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    # torch.load raises errors of many kinds for the many ways to be no file of tensors.
    except Exception as error:
        foreign = _foreign_object(error)
        if foreign is not None:
            raise ModelError(
                f"{path.name} is a pickle that holds more than tensors ({foreign}), and opening it "
                "could run a program; ask its author for safetensors, or, if you trust it, save "
                "its tensors alone on a machine where that does no harm: python -c 'import torch; "
                f'c = torch.load("{path.name}", weights_only=False, map_location="cpu"); '
                'torch.save({"net": c.get("net", c)}, "tensors.pth")\''
            ) from error
        raise ModelError(
            f"{path.name} is no weights file, or not a whole one; compare its size and check sum "
            f"with its source and get it again ({type(error).__name__})"
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(
            f"a weights file holds named tensors, {path.name} holds one {type(content).__name__}"
        )
    return content


def _check_sums(path: Path) -> None:
    """Compare each part of the archive with its CRC; torch.load does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ModelError(f"{path.name} is damaged ({error}); get it again") from error
    if damaged is not None:
        raise ModelError(f"{path.name} is damaged in its part {damaged}; get it again")


def _foreign_object(error: Exception) -> str | None:
    """Return the class or function that a refused pickle asks for."""
    if not isinstance(error, pickle.UnpicklingError):
        return None
    found = re.search(r"(?:GLOBAL|unsupported class|unrecognized function) (\S+)", str(error))
    return found.group(1) if found else None


def _wrapper(content: Mapping[object, object]) -> str | None:
    return next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
