"""How long a committee needs for a volume, from the measured time of one window."""

from __future__ import annotations

import time

import torch

from model.committee import CommitteeMember
from model.network_options import Precision, autocast
from model.resample import Triple, working_shape
from model.sliding_window import Windowing, window_count

_TIMED_WINDOWS = 2


def seconds_per_window(
    member: CommitteeMember, device: torch.device, *, precision: Precision
) -> float:
    """Return the time of one forward pass over a window, after one pass to warm up."""
    image = torch.zeros((1, 1, *member.inference.patch), device=device)
    with torch.inference_mode(), autocast(device, precision):
        _wait(member.network(image, None))
        started = time.perf_counter()
        for _ in range(_TIMED_WINDOWS):
            _wait(member.network(image, None))
    return (time.perf_counter() - started) / _TIMED_WINDOWS


def seconds_for(
    shape: tuple[int, int, int], spacing_mm: Triple, member: CommitteeMember, window_s: float
) -> float:
    """Return the most that a member's network can need for a volume, in seconds."""
    settings = member.inference
    windowing = Windowing(patch=settings.patch, overlap=settings.overlap)
    working = working_shape(shape, spacing_mm, settings.spacing_mm)
    return window_count(working, windowing) * window_s


def _wait(logits: torch.Tensor) -> None:
    if logits.is_cuda:
        torch.cuda.synchronize(logits.device)
