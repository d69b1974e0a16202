"""Left and right: which structure a mirrored one is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from configs.taxonomy import Taxonomy, load_taxonomy

_OTHER = {"left": "right", "right": "left"}


def mirrored_structures(structures: Sequence[str], taxonomy: Taxonomy | None = None) -> Tensor:
    """Return what each structure is after mirroring left to right, int64, shape (n,).

    A structure with a side becomes its partner, which has the other side and else the same name;
    one without stays itself. -1 stands for a partner that is not among ``structures``.

    Args:
        structures: Names, in the order of the network's channels.
        taxonomy: Knows the sides; the shipped one when None. Names unknown to it have no side.
    """
    sides = {entry.name: entry.side for entry in (taxonomy or load_taxonomy()).structures}
    place = {name: number for number, name in enumerate(structures)}
    found = []
    for name in structures:
        side = sides.get(name)
        partner = name if side is None else name.replace(side, _OTHER[side])
        found.append(place.get(partner, -1))
    return torch.tensor(found, dtype=torch.int64)
