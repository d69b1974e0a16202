"""The curves of a training as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_POINTS = 1000
_MOST_FIGURES = 8
_COLOUR, _SMOOTH_COLOUR = "#56B4E9", "#0072B2"


class StepPoint(NamedTuple):
    """One row of ``steps.csv``."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float


class ValidationPoint(NamedTuple):
    """One row of ``validation.csv``."""

    step: int
    figure: str
    value: float


def draw_curves(
    path: Path, steps: Sequence[StepPoint], validations: Sequence[ValidationPoint]
) -> None:
    """Write a PNG of loss, learning rate, gradient norm, seconds a step and validation figures.

    Args:
        path: Where to.
        steps: At least one.
        validations: Those named ``macro...`` are drawn, or the first few where there are none.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 8.0))
    places = figure.subplots(3, 2)
    # By hand: an automatic layout takes as long again as the drawing.
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.06, top=0.96, hspace=0.4, wspace=0.2)
    numbers = np.array([point.step for point in steps])
    for axes, (name, logarithmic) in zip(
        places.flat,
        (("loss", True), ("learning_rate", False), ("gradient_norm", True), ("seconds", False)),
        strict=False,
    ):
        values = np.array([getattr(point, name) for point in steps], dtype=float)
        _draw_series(axes, numbers, values, logarithmic=logarithmic)
        axes.set_title(name.replace("_", " "))
    _draw_validations(places.flat[4], validations)
    places.flat[5].axis("off")
    places.flat[5].text(
        0.0,
        0.9,
        f"step {steps[-1].step}\nloss {steps[-1].loss:.4f}",
        va="top",
    )
    figure.savefig(path, format="png", dpi=100)


def _draw_series(axes: Axes, numbers: np.ndarray, values: np.ndarray, *, logarithmic: bool) -> None:
    finite = np.isfinite(values)
    numbers, values = numbers[finite], values[finite]
    every = max(1, len(values) // _MOST_POINTS)
    axes.plot(numbers[::every], values[::every], color=_COLOUR, linewidth=0.8)
    width = max(1, len(values) // 50)
    if width > 1:
        smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
        axes.plot(numbers[width - 1 :][::every], smooth[::every], color=_SMOOTH_COLOUR)
    if logarithmic and len(values) and values.min() > 0:
        axes.set_yscale("log")
        # Powers of ten say little over the decade that a loss falls through.
        for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatted("{x:.2g}")
        axes.yaxis.set_tick_params(which="minor", labelsize="small")
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)


def _draw_validations(axes: Axes, validations: Sequence[ValidationPoint]) -> None:
    axes.set_title("validation")
    names = list(dict.fromkeys(point.figure for point in validations))
    macros = [name for name in names if name.startswith("macro")]
    for name in (macros or names)[:_MOST_FIGURES]:
        points = [(point.step, point.value) for point in validations if point.figure == name]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    if names:
        axes.legend(fontsize="small")
    else:
        axes.text(0.5, 0.5, "none yet", ha="center", transform=axes.transAxes)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
