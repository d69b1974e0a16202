"""Whether a network decides in reduced precision as it does in float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.body import body_mask
from model.committee import CommitteeMember
from model.grid import Shape, Triple
from model.network_options import Precision, autocast
from model.resample import to_working


def differing_share(
    member: CommitteeMember,
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    *,
    precision: Precision,
    device: torch.device,
) -> float:
    """Return the share of a member's foreground that reduced precision decides otherwise.

    Measured in the window round the middle of the body: voxels and structures in which the sign of
    the logit differs, over those that float32 has in the foreground (at least one). Logits that are
    not finite differ in everything.

    Args:
        member: The network, in evaluation mode on ``device``.
        hu: Native volume, shape (I, J, K).
        spacing_mm: Of that grid.
        precision: To be compared with float32.
        device: Where to compute.
    """
    settings = member.inference
    working = to_working(hu, spacing_mm, settings.spacing_mm, device=device)
    body = body_mask(working.cpu().numpy(), settings.spacing_mm)
    window = settings.scale(_middle_window(working, body, settings.patch))[None, None]
    with torch.inference_mode():
        with autocast(device, "float32"):
            exact = member.network(window, None)
        with autocast(device, precision):
            reduced = member.network(window, None)
    if not bool(torch.isfinite(reduced).all()):
        return float("inf")
    differing = int(((exact > 0) != (reduced > 0)).sum())
    return differing / max(1, int((exact > 0).sum()))


def _middle_window(working: Tensor, body: npt.NDArray[np.bool_], patch: Shape) -> Tensor:
    """Return a window of the patch's size round the body's centre of mass, air where it ends."""
    window = torch.full(patch, float(working.min()), device=working.device)
    source, target = [], []
    for middle, size, length in zip(centre_of(body), patch, working.shape, strict=True):
        start = min(max(0, round(middle) - size // 2), max(0, length - size))
        stop = min(length, start + size)
        source.append(slice(start, stop))
        target.append(slice(0, stop - start))
    window[tuple(target)] = working[tuple(source)]
    return window


def centre_of(body: npt.NDArray[np.bool_]) -> Triple:
    """Return the centre of mass in voxels, 0 when there is no body; takes no list of all voxels."""
    total = max(1, np.count_nonzero(body))
    axes = range(body.ndim)
    sums = [body.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]
    i, j, k = (float(np.arange(line.size) @ line) / total for line in sums)
    return (i, j, k)
