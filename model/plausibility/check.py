"""Judge the labels of one case by what an adult's look like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from configs.plausibility import PlausibilityRules
from model.grid import Shape, Triple
from model.midline import Midline
from model.placed_crop import PlacedMask
from model.plausibility.absence import absence_findings
from model.plausibility.finding import Finding
from model.plausibility.hosts import host_findings
from model.plausibility.mask_midline import mask_midline
from model.plausibility.neighbours import order_findings, overlap_findings, touch_findings
from model.plausibility.organ import Anatomy, measured
from model.plausibility.pieces import piece_findings
from model.plausibility.sides import side_findings
from model.plausibility.slices import flat_end_findings, gap_findings
from model.plausibility.volume import cut_findings, volume_findings
from model.plausibility.working_scan import WorkingScan

_JUDGES: tuple[Callable[[Anatomy], Iterator[Finding]], ...] = (
    absence_findings,
    side_findings,
    overlap_findings,
    volume_findings,
    piece_findings,
    gap_findings,
    flat_end_findings,
    host_findings,
    touch_findings,
    order_findings,
    cut_findings,
)


def check_anatomy(
    crops: Iterable[tuple[str, PlacedMask]],
    *,
    shape: Shape,
    spacing_mm: Triple,
    rules: PlausibilityRules,
    covered: Collection[str],
    midline: Midline | None = None,
) -> tuple[Finding, ...]:
    """Return what is not as in an adult; an empty tuple where all is well.

    One crop is held at its full size at a time; of each, its box stays in working voxels of about
    ``rules.work_mm`` in plane, a byte each, and the labels of one while its components are counted.

    Args:
        crops: Structure and mask, RAS order, at most one of each; those left out are absent.
        shape: Of the whole scan.
        spacing_mm: Of its grid.
        rules: To judge by.
        covered: Structures that somebody looked for; others are not missed.
        midline: Where the body's midline may lie; told by the organs themselves when None.

    Raises:
        UsageError: A structure is not in the taxonomy.
    """
    scan = WorkingScan.of(shape, spacing_mm, work_mm=rules.work_mm)
    organs = measured(crops, scan)
    anatomy = Anatomy(
        scan=scan,
        organs=organs,
        covered=frozenset(covered) | organs.keys(),
        midline=midline or mask_midline(organs),
        rules=rules,
    )
    return tuple(finding for judge in _JUDGES for finding in judge(anatomy))
