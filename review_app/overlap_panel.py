"""What a mask shares with neighbours that may not: the reader chooses what is taken from whom."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from configs.taxonomy import load_taxonomy
from storage.corrections import Overlap
from storage.review_case import ReviewCase


def chosen_transfer(case: ReviewCase, overlaps: Sequence[Overlap], *, key: str) -> list[str]:
    """Draw a choice for each overlap, and return the neighbours that give their voxels up.

    A neighbour that waits for a blind look keeps what it has, so nothing is offered for it.

    Args:
        case: The case as it was read.
        overlaps: Of the mask with its exclusive neighbours.
        key: Names the choices on the page.
    """
    taxonomy, voxel_ml = load_taxonomy(), voxel_volume_ml(case)
    taken = []
    for overlap in overlaps:
        shared = f"{overlap.voxels:,} shared voxels ({overlap.voxels * voxel_ml:.2f} mL)"
        name = taxonomy[overlap.structure].display
        if overlap.structure in case.waiting_blind:
            st.caption(f"{shared} stay with {name} too: it waits for a blind look as it is.")
        elif st.checkbox(
            f"Take {shared} from {name}", value=True, key=f"{key}-{overlap.structure}"
        ):
            taken.append(overlap.structure)
    return taken


def voxel_volume_ml(case: ReviewCase) -> float:
    """Return the volume of one voxel of the CT."""
    i, j, k = case.grid.ras_spacing_mm
    return i * j * k / 1000.0
