"""Text vectors of structures, from open_clip or from a file; never random numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from configs.errors import ModelError
from model.encoding import Provenance, TextVectors

PROMPTS: Mapping[str, str] = MappingProxyType(
    {
        "photo": "A photo of a {}",
        "there_is": "There is {} in this computerized tomography",
        "tomography": "A computerized tomography of a {}",
    }
)
"""Sentences by name.

Source:
    Liu et al. 2023 (CLIP-driven universal model), table 1; "tomography" did best there.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenClipModel:
    """A text encoder of open_clip.

    Attributes:
        name: Architecture, ``hf-hub:owner/model`` or ``local-dir:folder``.
        weights: Pretrained tag or checkpoint file of an architecture; None for the other two.
        quick_gelu: Whether the weights were trained with the sigmoid approximation of GELU, as
            OpenAI's were. None takes what open_clip knows of the tag or the folder; a checkpoint
            file does not say, so that it must be stated.
    """

    name: str
    weights: str | None = None
    quick_gelu: bool | None = None


def encode_words(
    model: OpenClipModel, words: Sequence[str], *, prompt: str = "tomography"
) -> TextVectors:
    """Return the text features of each structure's sentence, not normalised.

    Args:
        model: Text encoder; a tag or a hub model is downloaded once by open_clip.
        words: What to say of each structure, in order.
        prompt: A key of ``PROMPTS``, or a sentence with ``{}`` for the words.

    Raises:
        ModelError: The model or its weights cannot be had, do not fit, or give unusable vectors.
    """
    template = PROMPTS.get(prompt, prompt)
    if template.count("{}") != 1:
        raise ModelError(f"a prompt must hold {{}} once, got {prompt!r}; known {sorted(PROMPTS)}")
    network, tokenizer = _open(model)
    with torch.inference_mode():
        features = network.encode_text(tokenizer([template.format(word) for word in words]))
    if not isinstance(features, Tensor):
        raise ModelError(f"{model.name} does not give one text vector a sentence")
    gelu = " with quick GELU" if _has_quick_gelu(network) else ""
    provenance = Provenance(
        source=" ".join(["open_clip", model.name, _weights_name(model)]).strip() + gelu,
        prompt=template,
        words=tuple(words),
    )
    return TextVectors.checked(features.clone(), provenance, count=len(words))


def read_text_vectors(path: Path, *, count: int) -> TextVectors:
    """Read vectors that a user made or obtained: ``.pt``, ``.npy`` or ``.safetensors``.

    Args:
        path: One array of shape (count, D), rows in the order of the structures.
        count: Number of structures.

    Raises:
        ModelError: The file is missing, of another kind, holds something else or other counts.
    """
    readers = {".pt": _read_pt, ".pth": _read_pt, ".npy": _read_npy, ".safetensors": _read_tensors}
    if path.suffix not in readers:
        raise ModelError(
            f"text encodings come from {', '.join(sorted(readers))} files, got {path.name}"
        )
    if not path.is_file():
        raise ModelError(f"the text encodings {path.name} are missing; name an existing file")
    vectors = readers[path.suffix](path)
    return TextVectors.checked(vectors, Provenance(source=path.name), count=count)


def _open(model: OpenClipModel) -> tuple[Any, Any]:
    # Takes two seconds, and most runs need no text.
    import open_clip

    force = _quick_gelu(open_clip, model)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            network = open_clip.create_model(
                model.name,
                pretrained=model.weights,
                force_quick_gelu=force,
                require_pretrained=True,
                weights_only=True,
            )
            return network.eval(), open_clip.get_tokenizer(model.name)
    # open_clip, the hub's client and torch share no base class of errors, and each can fail here.
    except Exception as error:
        raise ModelError(
            f"the text encoder {model.name} with weights {_weights_name(model) or 'of its own'} "
            f"cannot be opened: {str(error).rstrip('. ')}{_remedy(open_clip, model, error)}"
        ) from error


def _remedy(open_clip: Any, model: OpenClipModel, error: Exception) -> str:  # noqa: ANN401  # a module
    """Return what else to try, where that is known."""
    if "TorchScript" in str(error):
        return (
            "; a TorchScript archive, as OpenAI's are, holds a program: save its tensors alone, "
            "see docs/encodings.md, and name that file"
        )
    tag = model.weights and open_clip.get_pretrained_cfg(model.name, model.weights)
    if not (model.name.startswith("hf-hub:") or tag):
        return ""
    return (
        "; where the hub cannot be reached, fetch the weights on a machine that reaches it, copy "
        "them here and name the file (MODEL/FILE) or a folder with open_clip_config.json "
        "(local-dir:FOLDER); HF_HUB_OFFLINE=1 skips the waiting and takes what was fetched before"
    )


def _has_quick_gelu(network: torch.nn.Module) -> bool:
    return any(type(module).__name__ == "QuickGELU" for module in network.modules())


def _quick_gelu(open_clip: Any, model: OpenClipModel) -> bool:  # noqa: ANN401  # a module
    """Return whether quick GELU must be forced on.

    Raises:
        ModelError: Unknown, or at odds with the architecture or the tag.
    """
    if ":" in model.name:
        return bool(model.quick_gelu)
    config = open_clip.get_model_config(model.name)
    if config is None:
        raise ModelError(f"open_clip knows no architecture {model.name!r}")
    if model.weights is None:
        raise ModelError(f"{model.name} needs weights: a pretrained tag or a checkpoint file")
    of_name = bool(config.get("quick_gelu", False))
    tag = open_clip.get_pretrained_cfg(model.name, model.weights)
    of_weights = bool(tag.get("quick_gelu", False)) if tag else model.quick_gelu
    if of_weights is None and not of_name:
        raise ModelError(
            f"quick_gelu must be stated for a checkpoint file, and is not for {model.weights}; "
            "it is true of OpenAI's weights and false of most others"
        )
    wanted = of_name if of_weights is None else of_weights
    if (of_name and not wanted) or (model.quick_gelu is not None and model.quick_gelu != wanted):
        raise ModelError(
            f"quick_gelu of {model.name}, of its weights {_weights_name(model)} and as stated must "
            f"agree, got {of_name}, {of_weights} and {model.quick_gelu}"
        )
    return wanted


def _weights_name(model: OpenClipModel) -> str:
    return Path(model.weights).name if model.weights else ""


def _read_pt(path: Path) -> Tensor:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # torch.load raises errors of many kinds for the many ways to be no file of tensors.
    except Exception as error:
        raise ModelError(f"{path.name} is not a file of tensors alone: {error}") from error
    return _single(path, content if isinstance(content, dict) else {"": content})


def _read_npy(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path.name} is not a plain NumPy array: {error}") from error


def _read_tensors(path: Path) -> Tensor:
    try:
        return _single(path, load_file(path))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name} is not a whole safetensors file: {error}") from error


def _single(path: Path, tensors: Mapping[str, object]) -> Tensor:
    found = [value for value in tensors.values() if isinstance(value, Tensor)]
    if len(found) != 1 or len(tensors) != 1:
        raise ModelError(f"{path.name} must hold one tensor, it holds {len(tensors)} values")
    return found[0]
