"""The cosine similarities between structures as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from configs.errors import UsageError
from configs.taxonomy import Taxonomy
from flows.output_file import replacing
from model.structure_vectors import StructureVectors, cosine_similarities

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GROUPS = (("organ", "organs"), ("tumor", "tumors"), ("cyst", "cysts"))
_CELL_INCHES, _MARGIN_INCHES = 0.25, 2.6

Matrix = npt.NDArray[np.float64]


def write_similarity_plot(path: Path, vectors: StructureVectors, taxonomy: Taxonomy) -> None:
    """Draw how alike the vectors of every two structures are: organs, then tumors, then cysts.

    A side stands beside its partner. The colours run from the lowest to the highest similarity of
    two structures, since those of text encoders fill a small part of the scale.

    Args:
        path: Ends in ``.png``.
        vectors: Two structures or more.
        taxonomy: Groups and names for people.

    Raises:
        UsageError: The ending is another, there is one structure, or the file cannot be written.

    Source:
        Liu et al., ICCV 2023, figure 1.
    """
    check_plot_path(path)
    if len(vectors.structures) < 2:
        raise UsageError("a picture of similarities needs two structures or more")
    order = plot_order(vectors.structures, taxonomy)
    places = [vectors.structures.index(name) for name in order]
    matrix = cosine_similarities(vectors.text)[np.ix_(places, places)]
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 8}), replacing(path) as temporary:
        figure = _draw(matrix, order, taxonomy, _title(vectors))
        figure.savefig(temporary, format="png", dpi=150)


def check_plot_path(path: Path) -> None:
    """Raise UsageError unless the name ends in a format that can be written."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"a picture of similarities ends in .png, got {path.name}")


def plot_order(structures: Sequence[str], taxonomy: Taxonomy) -> list[str]:
    """Return the structures group by group, in the taxonomy's order within a group."""
    chosen = taxonomy.select(structures)
    return [name for key, _ in _GROUPS for name in chosen if taxonomy[name].group == key]


def _title(vectors: StructureVectors) -> str:
    provenance = vectors.text.provenance
    return (
        provenance.source
        if provenance.prompt is None
        else f"{provenance.source}\n" + (f'"{provenance.prompt}"')
    )


def _draw(matrix: Matrix, order: Sequence[str], taxonomy: Taxonomy, title: str) -> Figure:
    from matplotlib.figure import Figure

    count = len(order)
    inches = count * _CELL_INCHES + _MARGIN_INCHES
    figure = Figure(figsize=(inches + 0.8, inches), layout="constrained")
    axes = figure.add_subplot()
    others = matrix[~np.eye(count, dtype=bool)]
    shown = np.ma.masked_array(matrix, np.eye(count, dtype=bool))
    image = axes.imshow(shown, cmap="viridis", vmin=others.min(), vmax=others.max())
    names = [taxonomy[name].display for name in order]
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    axes.set_facecolor("#DDDDDD")
    axes.set_title(title)
    _mark_groups(axes, [taxonomy[name].group for name in order])
    label = "cosine similarity (grey: a structure with itself)"
    figure.colorbar(image, ax=axes, shrink=0.7, label=label)
    return figure


def _mark_groups(axes: Axes, groups: Sequence[str]) -> None:
    """Draw a line between two groups, and each group's name at the right edge."""
    for key, words in _GROUPS:
        members = [place for place, group in enumerate(groups) if group == key]
        if not members:
            continue
        if members[0] > 0:
            axes.axhline(members[0] - 0.5, color="white", linewidth=2)
            axes.axvline(members[0] - 0.5, color="white", linewidth=2)
        middle = (members[0] + members[-1]) / 2
        axes.text(len(groups) - 0.3, middle, words, rotation=270, va="center", ha="left")
