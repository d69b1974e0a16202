"""Who a scan is: a name from its voxels, equal under any file name, dtype or axis order."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import numpy.typing as npt

_TIE_SHIFT_UM = 0.51


def content_id(hu_ras: npt.NDArray[np.int16], spacing_ras_mm: tuple[float, float, float]) -> str:
    """Return the SHA-256 of a scan's content, in hex.

    The hashed bytes, in this order:

    1. the voxels: HU rounded to int16, RAS, C order (S fastest), little-endian;
    2. the shape (I, J, K): three little-endian uint64;
    3. the spacing along R, A, S in whole micrometres: three little-endian uint64. The rounding
       turns up from x.49, not x.5, since real spacings such as 0.8125 mm lie on the tie, where
       the float error of a turned affine would decide.

    Args:
        hu_ras: HU, shape (I, J, K).
        spacing_ras_mm: Voxel size along R, A, S.
    """
    digest = hashlib.sha256()
    for slab in hu_ras:
        digest.update(np.ascontiguousarray(slab, "<i2").data)
    digest.update(struct.pack("<3Q", *hu_ras.shape))
    spacing_um = (int(size * 1000 + _TIE_SHIFT_UM) for size in spacing_ras_mm)
    digest.update(struct.pack("<3Q", *spacing_um))
    return digest.hexdigest()


def case_id_of(content: str) -> str:
    """Return the case id of a content id: "c-" and its first 12 hex digits."""
    return f"c-{content[:12]}"
