"""From a flat label map, one value a voxel, back to masks that overlap as the taxonomy says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from configs.taxonomy import Taxonomy

Mask = npt.NDArray[np.bool_]
LabelMap = npt.NDArray[np.unsignedinteger]


def unstack(
    label_map: LabelMap, values: Mapping[str, Sequence[int]], taxonomy: Taxonomy
) -> Iterator[tuple[str, Mask]]:
    """Yield every structure of a label map with its mask.

    A flat map shows a lesion instead of the organ round it. The mask of an organ gets the
    structures back that the taxonomy places in it: those with this one parent wholly; those of a
    pair (kidneys, lungs) by components, each to the side that it touches most. What two organs
    claimed both, or what a lesion covered outside its organ, cannot be told from a flat map.

    Args:
        label_map: Shape (I, J, K).
        values: Structure -> the values that mean it.
        taxonomy: Says what lies in what.
    """
    for structure in values:
        mask = _with_descendants(label_map, values, structure, taxonomy)
        for parents, lesions in _shared_lesions(values, structure, taxonomy).items():
            hosts = {name: with_values(label_map, values[name]) for name in parents}
            lesion = with_values(label_map, [value for name in lesions for value in values[name]])
            mask |= of_host(lesion, hosts, structure)
        yield structure, mask


def of_host(lesion: Mask, hosts: Mapping[str, Mask], host: str) -> Mask:
    """Return those components of a lesion that touch one host more than any other.

    Args:
        lesion: Shape (I, J, K).
        hosts: Host -> mask without the lesion, shape (I, J, K). The first one wins a tie.
        host: One of them.

    Returns:
        Shape (I, J, K). A component that touches no host belongs to none.
    """
    result = np.zeros(lesion.shape, np.bool_)
    components = cc3d.connected_components(lesion, connectivity=26)
    for number, found in enumerate(ndimage.find_objects(components), start=1):
        box = tuple(slice(max(0, axis.start - 1), axis.stop + 1) for axis in found)
        component = components[box] == number
        rim = np.asarray(ndimage.binary_dilation(component, np.ones((3, 3, 3))), np.bool_)
        touched = {name: int(np.count_nonzero(mask[box] & rim)) for name, mask in hosts.items()}
        winner = max(touched, key=lambda name: touched[name])
        if winner == host and touched[winner] > 0:
            result[box] |= component
    return result


def with_values(label_map: LabelMap, values: Sequence[int]) -> Mask:
    """Return where a map has one of some values; slab by slab, since numpy widens an index."""
    is_wanted = np.zeros(np.iinfo(label_map.dtype).max + 1, np.bool_)
    is_wanted[list(values)] = True
    mask = np.empty(label_map.shape, np.bool_)
    for slab, target in zip(label_map, mask, strict=True):
        target[...] = is_wanted[slab]
    return mask


def _with_descendants(
    label_map: LabelMap, values: Mapping[str, Sequence[int]], structure: str, taxonomy: Taxonomy
) -> Mask:
    """Return a structure with all that lies in it and in nothing else."""
    wanted = [structure]
    for name in wanted:
        wanted += [
            child
            for child in taxonomy.children(name)
            if child in values and len(taxonomy[child].parents) == 1
        ]
    return with_values(label_map, [value for name in wanted for value in values[name]])


def _shared_lesions(
    values: Mapping[str, Sequence[int]], structure: str, taxonomy: Taxonomy
) -> dict[tuple[str, ...], list[str]]:
    """Return parents -> lesions of a pair of organs, this structure being one of them.

    Lesions of the same pair go together, since a cyst may touch nothing but the tumor round it.
    """
    shared: dict[tuple[str, ...], list[str]] = {}
    for child in taxonomy.children(structure):
        if child in values and len(taxonomy[child].parents) > 1:
            parents = tuple(name for name in taxonomy[child].parents if name in values)
            shared.setdefault(parents, []).append(child)
    return shared
