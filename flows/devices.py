"""Which device to compute on, and in which precision; decided once per run."""

from __future__ import annotations

from typing import Literal

import torch

from configs.errors import ConfigError
from model.network_options import Precision

Autocast = Literal["auto", "off", "bfloat16", "float16"]


def choose_device(name: str) -> torch.device:
    """Return the device of a setting: ``auto`` takes CUDA where there is one.

    Raises:
        ConfigError: The name is no device, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"annotate.device must be auto, cpu, cuda or cuda:N, got {name!r}"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"annotate.device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"{name} is not there: torch sees {torch.cuda.device_count()} CUDA devices"
        )
    return device


def training_precision(
    autocast: Autocast, device: torch.device
) -> Literal["bfloat16", "float16"] | None:
    """Return in which type training multiplies; None is float32."""
    if autocast == "float16":
        return "float16"
    return "bfloat16" if uses_bfloat16(autocast, device) else None


def inference_precision(autocast: Autocast, device: torch.device) -> Precision:
    """Return in which type networks multiply when they annotate."""
    return training_precision(autocast, device) or "float32"


def uses_bfloat16(autocast: Autocast, device: torch.device) -> bool:
    """Whether networks run in bfloat16; ``auto`` does so where the hardware multiplies it fast."""
    if autocast == "auto":
        if device.type == "cuda":
            return torch.cuda.is_bf16_supported()
        return torch.cpu._is_amx_tile_supported()  # there is no public question yet
    return autocast == "bfloat16"
