"""A self-contained HTML page of the queue's head, with a picture of each entry."""

from __future__ import annotations

import base64
import html
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, UsageError
from configs.taxonomy import Structure, load_taxonomy
from flows.limits import volume_limits
from flows.queue import ShownQueue
from model.grid import Box
from model.grid import Grid as CropGrid
from model.rendering import (
    CONSENSUS_COLOUR,
    Picture,
    context_box,
    member_colours,
    placed,
    render_item,
    to_png,
)
from storage.cases import CaseRow, all_cases, existing_file
from storage.grid import Grid
from storage.masks import decode_crop
from storage.predictions import (
    CONSENSUS,
    StoredMap,
    StoredMask,
    manifest_grid,
    maps_of,
    masks_of,
    nested_box,
)
from storage.queue import QueuedPrediction
from storage.store import Store
from storage.volume import Volume

_LOG = logging.getLogger(__name__)
_CONTEXT_MM = 30.0

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; padding: 1.5rem; }
header p, .why { max-width: 46rem; }
h2 { border-bottom: 1px solid var(--line); margin: 2.5rem 0 1rem; padding-bottom: .3rem; }
article { display: grid; gap: .4rem; margin: 0 0 2rem; }
article h3 { margin: 0; }
article img { width: 100%; height: auto; background: #000; border-radius: 4px; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .9rem; }
.planes { display: grid; grid-template-columns: repeat(3, 1fr); font-size: .85rem; opacity: .8; }
.swatch { display: inline-block; width: .8rem; height: .8rem; margin-right: .35rem;
  border: 1px solid #8888; vertical-align: -.05rem; }
.none { background: var(--soft); padding: 1rem; }
"""


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the index knows of one entry."""

    case: CaseRow
    grid: Grid
    masks: list[StoredMask]
    maps: list[StoredMap]


def write_queue_page(store: Store, shown: ShownQueue, path: Path) -> None:
    """Write the page; names cases by id only and needs no other file.

    Raises:
        UsageError: The page cannot be written.
    """
    sections = [
        _section(store, "To look at", shown.present),
        _section(store, "Possibly missed", shown.possibly_missed),
    ]
    ranked = f"{shown.ranked_at:%Y-%m-%d %H:%M} UTC" if shown.ranked_at else "never"
    total = sum(shown.sizes.values())
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>AtlasLoop queue</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><header><h1>Review queue</h1>
<p>The labels that are most probably wrong, worst first, structures taking turns. {total} entries in
all, ranked {ranked}. Each picture shows the slice with most disagreement in three planes; the
patient's right is on the left of axial and coronal pictures. Coloured lines are the members'
contours, white is the consensus, the pink shade is uncertainty.</p></header>
{"".join(sections)}</body></html>
"""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the page {path} cannot be written: {error.strerror}") from error


def _section(store: Store, title: str, entries: Sequence[QueuedPrediction]) -> str:
    if not entries:
        return f'<section><h2>{title}</h2><p class="none">Nothing waits here.</p></section>'
    articles = "".join(_article(store, queued) for queued in entries)
    return f"<section><h2>{title}</h2>{articles}</section>"


def _article(store: Store, queued: QueuedPrediction) -> str:
    entry = queued.entry
    structure = load_taxonomy()[entry.structure]
    stored = _stored(store, queued)
    members = [mask.member for mask in stored.masks if mask.member != CONSENSUS]
    return f"""<article><h3>{entry.position}. {html.escape(structure.display)}</h3>
<div class="facts"><span>case <code>{entry.case_id}</code></span><span>risk {entry.risk:.2f}</span>
{"".join(_swatches(members))}</div>
<p class="why">{html.escape(entry.reason)}</p>
{_figure(store, stored, structure)}</article>
"""


def _swatches(members: Sequence[str]) -> Iterator[str]:
    colours = {**member_colours(members), "consensus": CONSENSUS_COLOUR}
    for name, (red, green, blue) in colours.items():
        style = f"background: rgb({red} {green} {blue})"
        yield f'<span><i class="swatch" style="{style}"></i>{html.escape(name)}</span>'


def _figure(store: Store, stored: _Stored, structure: Structure) -> str:
    if not stored.masks and not stored.maps:
        return '<p class="none">No member drew a mask; only the probability is raised.</p>'
    try:
        picture = _picture(store, stored)
    except CaseError as error:
        _LOG.warning("no picture of %s: %s", stored.case.case_id, error.reason)
        return f'<p class="none">No picture: {html.escape(str(error.reason))}.</p>'
    data = base64.b64encode(to_png(render_item(picture))).decode("ascii")
    name = html.escape(structure.display)
    return (
        f'<img alt="{name}: axial, coronal and sagittal slice" src="data:image/png;base64,{data}">'
        '<div class="planes"><span>axial</span><span>coronal</span><span>sagittal</span></div>'
    )


def _stored(store: Store, queued: QueuedPrediction) -> _Stored:
    entry = queued.entry
    with store.read() as connection:
        (case,) = [c for c in all_cases(connection) if c.case_id == entry.case_id]
        return _Stored(
            case,
            manifest_grid(store, queued.prediction_id, connection),
            masks_of(connection, queued.prediction_id, entry.structure),
            maps_of(connection, queued.prediction_id, entry.structure),
        )


def _picture(store: Store, stored: _Stored) -> Picture:
    """Read the CT round the structure, and lay masks and maps over it."""
    grid = stored.grid
    native = CropGrid(grid.ras_shape, grid.ras_spacing_mm)
    boxes = [_ras_box(part, grid) for part in (*stored.masks, *stored.maps)]
    outer = context_box(_union(boxes), native, _CONTEXT_MM)
    file = existing_file(stored.case)
    volume = Volume.open(file.path, limits=volume_limits(store.settings.intake))
    masks = {part.member: _placed(store, part, grid, outer) > 0 for part in stored.masks}
    maps = {part.kind: _placed(store, part, grid, outer) for part in stored.maps}
    i, j, k = zip(outer.start, outer.stop, strict=True)
    return Picture(
        hu=volume.read_ras_box((i, j, k)),
        spacing_mm=grid.ras_spacing_mm,
        consensus=masks.pop(CONSENSUS, None),
        members=masks,
        uncertainty=maps.get("uncertainty"),
        disagreement=maps.get("disagreement"),
    )


def _placed(
    store: Store, part: StoredMask | StoredMap, grid: Grid, outer: Box
) -> npt.NDArray[np.uint8]:
    crop = decode_crop(store.objects.read(part.object), nested_box(part.box), grid)
    return placed(crop, _ras_box(part, grid), outer)


def _ras_box(part: StoredMask | StoredMap, grid: Grid) -> Box:
    (i0, i1), (j0, j1), (k0, k1) = grid.box_to_ras(nested_box(part.box))
    return Box((i0, j0, k0), (i1, j1, k1))


def _union(boxes: Sequence[Box]) -> Box:
    i0, j0, k0 = (min(box.start[axis] for box in boxes) for axis in range(3))
    i1, j1, k1 = (max(box.stop[axis] for box in boxes) for axis in range(3))
    return Box((i0, j0, k0), (i1, j1, k1))
