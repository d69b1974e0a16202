"""Agreement as a picture: each structure's Dice between each two sources, case by case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from flows.agreement import PairAgreement
from flows.output_file import replacing
from model.agreement import MEANING, Kind
from model.agreement_report import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")

# Told apart by readers with any colour vision, also in grey. Source: Okabe and Ito 2008.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_WIDTH_INCHES, _HEAD_INCHES, _ROW_INCHES = 9.0, 1.2, 0.25
_GAP_ROWS = 0.6
_LEAST_CASES, _MANY_CASES = 4, 200


@dataclass(frozen=True, slots=True)
class _Series:
    """One kind of comparison between two sources, by structure."""

    label: str
    kind: Kind
    colour: str
    values: dict[str, list[float]]
    spreads: dict[str, Spread]

    @property
    def is_filled(self) -> bool:
        """Whether the figure is drawn solid: neither side was made from the other."""
        return self.kind in ("independent_dsc", "reference_dsc")


def check_plot_path(path: Path) -> None:
    """Raise UsageError unless the name ends in a format that can be written."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"a plot ends in {' or '.join(FORMATS)}, got {path.name}")


def write_agreement_plot(path: Path, pairs: Sequence[PairAgreement]) -> None:
    """Draw the Dice of every case, by structure, the pairs of sources beside each other.

    Args:
        path: Ends in ``.png`` or ``.svg``.
        pairs: What was compared; needs a Dice of one case at least.

    Raises:
        UsageError: The ending is another, nothing is to be drawn, or the file cannot be written.

    Source:
        The comparison of human-human with human-AI agreement by structure: Liu et al., ICCV 2023,
        figure 4.
    """
    check_plot_path(path)
    series = [
        one
        for number, pair in enumerate(pairs)
        for one in _series(pair, _COLOURS[number % len(_COLOURS)])
    ]
    names = [name for name in load_taxonomy().names if any(name in one.values for one in series)]
    if not names:
        raise UsageError("a plot needs a case with a Dice, got none")
    import matplotlib as mpl

    with (
        mpl.rc_context({"font.size": 9, "svg.hashsalt": "atlasloop"}),
        replacing(path) as temporary,
    ):
        figure = _draw(series, names)
        # Without the time of day, equal results give equal files.
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
        figure.savefig(
            temporary, format=path.suffix.lower().removeprefix("."), dpi=150, metadata=metadata
        )


def _series(pair: PairAgreement, colour: str) -> list[_Series]:
    result = []
    for block in pair.blocks:
        values: dict[str, list[float]] = {}
        for case in pair.cases:
            dsc = case.overlap.dsc
            if case.kind == block.kind and case.counts_in_dsc and dsc is not None:
                values.setdefault(case.structure, []).append(dsc)
        spreads = {row.structure: row.dsc for row in block.structures if row.dsc is not None}
        label = f"{pair.tested} against {pair.reference}: {block.kind}"
        result.append(_Series(label, block.kind, colour, values, spreads))
    return result


def _draw(series: Sequence[_Series], names: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    rows = [_rows(series, name) for name in names]
    height = sum(len(found) + _GAP_ROWS for found in rows)
    inches = height * _ROW_INCHES + _HEAD_INCHES + 0.2 * len(series)
    figure = Figure(figsize=(_WIDTH_INCHES, inches), layout="constrained")
    axes = figure.add_subplot()
    _set_up(axes, series, height=height)
    ticks: list[tuple[float, str]] = []
    top = 0.0
    for number, (name, found) in enumerate(zip(names, rows, strict=True)):
        bottom = top + len(found) + _GAP_ROWS
        if number % 2 == 0:
            axes.axhspan(top, bottom, color="#000000", alpha=0.045, linewidth=0)
        for place, one in enumerate(found):
            y = top + _GAP_ROWS / 2 + place + 0.5
            _draw_cases(axes, one, name, y)
            _draw_spread(axes, one, name, y)
            ticks.append((y, f"{_name(name) if place == 0 else ''}   n = {len(one.values[name])}"))
        top = bottom
    axes.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
    _add_legend(figure, series)
    return figure


def _rows(series: Sequence[_Series], name: str) -> list[_Series]:
    return [one for one in series if name in one.values]


def _name(name: str) -> str:
    structure = load_taxonomy()[name]
    return f"{structure.display}, where present" if structure.is_lesion else structure.display


def _set_up(axes: Axes, series: Sequence[_Series], *, height: float) -> None:
    lowest = min(min(values) for one in series for values in one.values.values())
    start = min(0.9, max(0.0, math.floor((lowest - 0.02) * 10) / 10))
    margin = 0.015 * (1 - start)
    axes.set_xlim(start - margin, 1.0 + margin)
    axes.set_ylim(height, 0)
    axes.grid(axis="x", color="#00000022", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel(
        "DSC on the native grid. Dot: a case; box: quartiles and median; diamond: mean,\n"
        "with its 95 % interval by drawing patients where there are four or more."
    )


def _draw_cases(axes: Axes, one: _Series, name: str, y: float) -> None:
    """Draw a dot a case; those that would cover each other lie apart."""
    values = np.array(one.values[name])
    apart = np.random.default_rng(0).uniform(-0.26, 0.26, len(values)) * (len(values) > 1)
    axes.scatter(
        values,
        y + apart,
        s=11,
        facecolors=one.colour if one.is_filled else "none",
        edgecolors=one.colour,
        alpha=0.75 if len(values) < _MANY_CASES else 0.3,
        linewidths=0.8,
        zorder=2.5,
    )


def _draw_spread(axes: Axes, one: _Series, name: str, y: float) -> None:
    """Draw box and mean; of fewer than four cases the dots say all."""
    spread, values = one.spreads[name], one.values[name]
    if len(values) < _LEAST_CASES:
        return
    axes.barh(
        y,
        spread.q3 - spread.q1,
        left=spread.q1,
        height=0.66,
        facecolor=f"{one.colour}33" if one.is_filled else "none",
        edgecolor=one.colour,
        linewidth=0.9,
        linestyle="-" if one.is_filled else "--",
    )
    axes.plot([spread.median] * 2, [y - 0.33, y + 0.33], color=one.colour, linewidth=1.8)
    if spread.interval is not None:
        axes.plot(spread.interval, [y, y], color="#222222", linewidth=1.0, zorder=3)
    axes.plot(
        *([spread.mean], [y]),
        marker="D",
        markersize=4,
        markerfacecolor="white",
        markeredgecolor="#222222",
        zorder=4,
    )


def _add_legend(figure: Figure, series: Sequence[_Series]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor=one.colour if one.is_filled else "none",
            edgecolor=one.colour,
            linestyle="-" if one.is_filled else "--",
            # A dollar sign in a name would start a formula.
            label=f"{one.label} ({MEANING[one.kind]})".replace("$", r"\$"),
        )
        for one in series
    ]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        frameon=False,
        handlelength=1.2,
        fontsize=8,
        title="Agreement by structure",
        title_fontproperties={"size": 11, "weight": "bold"},
        alignment="left",
    )
