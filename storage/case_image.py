"""The CT of a case: found among its files and opened within the workspace's limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.setting_sections import IntakeSettings
from storage.cases import CaseRow, existing_file
from storage.grid import Grid
from storage.image_faults import VolumeLimits
from storage.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class CaseImage:
    """A CT in memory.

    Attributes:
        hu_ras: Hounsfield units, int16, RAS order, shape ``grid.ras_shape``.
    """

    grid: Grid
    hu_ras: npt.NDArray[np.int16]


def open_case(case: CaseRow, limits: IntakeSettings) -> Volume:
    """Open the header of a case's CT.

    Raises:
        CaseError: All files are gone, or the one that is there is no longer fit.
    """
    return Volume.open(
        existing_file(case).path,
        limits=VolumeLimits(max_voxels=limits.max_voxels, min_slices=limits.min_slices),
    )


def load_case(case: CaseRow, limits: IntakeSettings) -> CaseImage:
    """Read a case's CT whole, after checking that it is the file that intake saw.

    Memory: two bytes a voxel.

    Raises:
        CaseError: As ``open_case``, or the file was changed or damaged since intake.
    """
    volume = open_case(case, limits)
    sha256 = existing_file(case).sha256
    return CaseImage(volume.grid, volume.read_ras(expected_sha256=sha256))
