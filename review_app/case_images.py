"""The CT voxels and mask crops behind the pictures and the editor, a few of them kept in memory."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from configs.setting_sections import IntakeSettings
from review_app.bounded_cache import BoundedCache
from review_app.slice_picture import MaskCrop
from storage.case_image import CaseImage, load_case
from storage.cases import CaseRow
from storage.ct_regions import CtRegions
from storage.grid import Grid
from storage.masks import decode_crop
from storage.predictions import FlatBox, nested_box
from storage.store import Store

_CROP_BYTES = 256 << 20


def ct_of(store: Store, case: CaseRow) -> CaseImage:
    """Return a case's CT as int16; ``review.cached_cts`` of them are kept for all sessions.

    Raises:
        CaseError: The file is gone, was changed since intake, or is damaged.
    """
    kept = _cts(store.settings.review.cached_cts)
    return kept.get(case.content_id, lambda: load_case(case, store.settings.intake))


def crop_of(store: Store, digest: str, box: FlatBox, grid: Grid) -> MaskCrop:
    """Return a stored mask or map; up to 256 MiB of them are kept for all sessions.

    Raises:
        StorageError: The object is missing or damaged.
    """
    native = nested_box(box)
    key = (digest, box, grid)

    def make() -> MaskCrop:
        values = decode_crop(store.objects.read(digest), native, grid)
        return MaskCrop(values, grid.box_to_ras(native))

    return _crops().get(key, make)


def regions_of(store: Store) -> CtRegions:
    """Return the CTs in blocks of a workspace; up to ``review.region_cache_gb`` of them stay."""
    settings = store.settings
    most_bytes = int(settings.review.region_cache_gb * 1e9)
    return _regions(store.workspace.regions_path, settings.intake.model_dump_json(), most_bytes)


@cache
def _regions(root: Path, limits: str, most_bytes: int) -> CtRegions:
    settings = IntakeSettings.model_validate_json(limits)
    return CtRegions(root, settings, most_bytes=most_bytes)


@cache
def _cts(count: int) -> BoundedCache[CaseImage]:
    return BoundedCache(count, lambda image: 1)


@cache
def _crops() -> BoundedCache[MaskCrop]:
    return BoundedCache(_CROP_BYTES, lambda crop: crop.values.nbytes)
