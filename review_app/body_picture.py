"""A small picture of the whole CT from the front, so that a region can be shown in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.rendering import to_png
from storage.ct_blocks import Overview

_HEIGHT_PX = 200
_WINDOW_HU = (-500.0, 500.0)


def body_picture(
    overview: Overview, spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> bytes:
    """Return a PNG: the mean along the line of sight, the patient's right on the left, head up.

    Args:
        overview: The CT at about 4 mm.
        spacing_mm: Of the whole CT, along R, A, S.
        shape: Of the whole CT; the picture covers all of it.
    """
    low, high = _WINDOW_HU
    shade = (np.clip(overview.hu_ras, low, high) - low).mean(axis=1) / (high - low)
    picture = np.rint(255 * shade[::-1, ::-1].T / max(shade.max(), 1e-6)).astype(np.uint8)
    width_mm, height_mm = shape[0] * spacing_mm[0], shape[2] * spacing_mm[2]
    width_px = max(1, round(_HEIGHT_PX * width_mm / height_mm))
    resized = Image.fromarray(picture).resize((width_px, _HEIGHT_PX), Image.Resampling.BILINEAR)
    grey: npt.NDArray[np.uint8] = np.asarray(resized)
    return to_png(np.repeat(grey[:, :, None], 3, axis=2))
