"""From settings to the limits that storage reads files with."""

from __future__ import annotations

from configs.setting_sections import IntakeSettings
from storage.image_faults import VolumeLimits


def volume_limits(settings: IntakeSettings) -> VolumeLimits:
    """Return the limits on a volume's size and slices."""
    return VolumeLimits(max_voxels=settings.max_voxels, min_slices=settings.min_slices)
