"""All that intake learns about one file, from one pass over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.fingerprint import fingerprint_of
from storage.grid import Grid
from storage.hu_histogram import HuHistogram
from storage.identity import case_id_of, content_id
from storage.image_faults import VolumeLimits, check_hu
from storage.volume import Volume

HU_PERCENTS = (0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5)
"""Which percentiles ``IntakeRecord.hu_percentiles`` holds, in this order."""

_DEFAULT_LIMITS = VolumeLimits()


Use = Callable[["IntakeRecord", npt.NDArray[np.int16]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRecord:
    """One accepted file.

    Attributes:
        case_id: "c-" and 12 hex digits of the content id.
        content_id: SHA-256 of the content, see ``identity.content_id``.
        file_sha256: SHA-256 of the file as it lies on disk.
        file_bytes: Its size on disk.
        fingerprint: Low-resolution picture for finding twins, see ``fingerprint.fingerprint_of``.
        grid: The file's grid.
        hu_percentiles: HU at ``HU_PERCENTS``, over all voxels, padding included.
    """

    case_id: str
    content_id: str
    file_sha256: str
    file_bytes: int
    fingerprint: bytes
    grid: Grid
    hu_percentiles: tuple[float, ...]


def inspect_file(
    path: Path, limits: VolumeLimits = _DEFAULT_LIMITS, *, use: Use | None = None
) -> IntakeRecord:
    """Read a file once, completely, and return what intake records of it.

    Memory: the volume as int16 once, plus some 60 MB.

    Args:
        path: The file.
        limits: What a volume may be.
        use: Called with the record and the voxels of a fit file, int16 HU in RAS order, while they
            are in memory.

    Raises:
        CaseError: The file cannot be used; the reason says why.
    """
    volume = Volume.open(path, limits=limits)
    read = volume.read_with_hash()
    histogram = HuHistogram.of(read.hu_ras)
    check_hu(histogram, path.name)
    spacing_ras_mm = volume.grid.ras_spacing_mm
    content = content_id(read.hu_ras, spacing_ras_mm)
    record = IntakeRecord(
        case_id=case_id_of(content),
        content_id=content,
        file_sha256=read.file_sha256,
        file_bytes=path.stat().st_size,
        fingerprint=fingerprint_of(read.hu_ras, spacing_ras_mm),
        grid=volume.grid,
        hu_percentiles=histogram.percentiles(HU_PERCENTS),
    )
    if use is not None:
        use(record, read.hu_ras)
    return record
