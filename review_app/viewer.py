"""The three planes of a CT with their sliders; redrawn on its own, without the rest of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import streamlit as st

from configs.setting_sections import ReviewKeys
from review_app.slice_picture import Contour, MaskCrop, SliceView, slice_png
from review_app.style import legend
from review_app.view_models import PLANE_AXES, WINDOWS_HU, Box, Plane
from storage.case_image import CaseImage

_LARGE_PX, _SMALL_PX = 640, 340
_PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Contours that are switched together.

    Attributes:
        name: Of the switch; an empty name cannot be switched.
        entries: Words for the legend and the contour; None for a legend entry without one.
    """

    name: str
    contours: Sequence[tuple[str, Contour]]
    is_on: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What the viewer shows.

    Attributes:
        key: Names the item; another key starts at ``start`` again.
        region_ras: What zooming in shows; None where there is nothing to zoom to.
        start: Voxel where the planes meet at first.
        heat: Shown on demand.
        frame_at: From where the planes meet to a box that is drawn round it; None for no box.
    """

    key: str
    image: CaseImage
    start: tuple[int, int, int]
    region_ras: Box | None = None
    layers: Sequence[Layer] = field(default_factory=tuple)
    heat: MaskCrop | None = None
    frame_at: Callable[[tuple[int, int, int]], Box | None] | None = None


def jump_to(scene: str, voxel_ras: tuple[int, int, int]) -> None:
    """Turn the planes of a scene, by its key, to a voxel."""
    for plane, axis in PLANE_AXES.items():
        st.session_state[_slider_key(scene, plane)] = voxel_ras[axis] + 1


@st.fragment
def show_slices(scene: Scene, keys: ReviewKeys, on_action: Callable[[], None]) -> None:
    """Draw the planes; ``on_action`` is called each time the reader changes something here."""
    on_action()
    grid = scene.image.grid
    with st.container(horizontal=True, vertical_alignment="center", key="viewer-controls"):
        window = st.segmented_control(
            "Window",
            list(WINDOWS_HU),
            default="Abdomen",
            required=True,
            key="window",
            label_visibility="collapsed",
        )
        large = st.segmented_control(
            "Large plane",
            _PLANES,
            default="axial",
            required=True,
            key="large-plane",
            format_func=str.capitalize,
            label_visibility="collapsed",
        )
        large = cast(Plane, large)
        zoomed = _zoom(scene, keys)
        shown = [layer for layer in scene.layers if _is_on(layer)]
        heat = scene.heat if scene.heat and st.toggle("Heat map", key="show-heat") else None
        _step_buttons(scene, large, keys)
    whole: Box = ((0, grid.ras_shape[0]), (0, grid.ras_shape[1]), (0, grid.ras_shape[2]))
    cursor = _cursor(scene)
    view = SliceView(
        hu_ras=scene.image.hu_ras,
        spacing_mm=grid.ras_spacing_mm,
        view_ras=scene.region_ras if zoomed and scene.region_ras else whole,
        cursor=cursor,
        window_hu=WINDOWS_HU[window or "Abdomen"],
        contours=[contour for layer in shown for _, contour in layer.contours],
        heat=heat,
        frame=scene.frame_at(cursor) if scene.frame_at else None,
    )
    entries = [(contour.rgb, words) for layer in shown for words, contour in layer.contours]
    if entries:
        st.html(legend(list(dict.fromkeys(entries))))
    left, right = st.columns([1.85, 1])
    with left:
        _plane(scene, view, large, _LARGE_PX)
    with right:
        for plane in _PLANES:
            if plane != large:
                _plane(scene, view, plane, _SMALL_PX)


def place_of(key: str) -> tuple[int, int, int] | None:
    """Return the voxel where the planes of a scene meet; None while it is not shown."""
    stands = [
        st.session_state.get(f"slice-{key}-{plane}")
        for plane, _ in sorted(PLANE_AXES.items(), key=lambda pair: pair[1])
    ]
    if any(at is None for at in stands):
        return None
    i, j, k = (int(at) - 1 for at in stands if at is not None)
    return (i, j, k)


def _zoom(scene: Scene, keys: ReviewKeys) -> bool:
    if scene.region_ras is None:
        return False
    zoomed = bool(st.session_state.setdefault("zoomed", True))
    st.button(
        "Whole CT" if zoomed else "Zoom in",
        key="zoom",
        shortcut=keys.zoom,
        on_click=lambda: st.session_state.update(zoomed=not zoomed),
    )
    return zoomed


def _is_on(layer: Layer) -> bool:
    if not layer.name or not layer.contours:
        return bool(layer.contours)
    return st.toggle(layer.name, value=layer.is_on, key=f"show-{layer.name}")


def _plane(scene: Scene, view: SliceView, plane: Plane, panel_px: int) -> None:
    axis = PLANE_AXES[plane]
    count = view.hu_ras.shape[axis]
    st.image(
        slice_png(view, plane, panel_px=panel_px),
        width="stretch",
        alt=f"{plane} slice {view.cursor[axis] + 1}",
    )
    st.slider(
        f"{plane.capitalize()}, slice {view.cursor[axis] + 1} of {count}",
        1,
        count,
        key=_slider_key(scene.key, plane),
    )


def _step_buttons(scene: Scene, plane: Plane, keys: ReviewKeys) -> None:
    count = scene.image.hu_ras.shape[PLANE_AXES[plane]]
    for words, step, key in (("Up", 1, keys.slice_up), ("Down", -1, keys.slice_down)):
        move = partial(_move, _slider_key(scene.key, plane), step, count)
        st.button(words, key=f"step{step}", help="One slice", shortcut=key, on_click=move)


def _move(slider: str, step: int, count: int) -> None:
    st.session_state[slider] = min(max(1, int(st.session_state[slider]) + step), count)


def _cursor(scene: Scene) -> tuple[int, int, int]:
    """Return where the sliders stand; sliders count from 1."""
    i, j, k = (
        int(st.session_state.setdefault(_slider_key(scene.key, plane), scene.start[axis] + 1)) - 1
        for plane, axis in sorted(PLANE_AXES.items(), key=lambda pair: pair[1])
    )
    return (i, j, k)


def _slider_key(scene: str, plane: Plane) -> str:
    return f"slice-{scene}-{plane}"
