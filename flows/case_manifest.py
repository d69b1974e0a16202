"""Results of a committee as objects, and the manifest that names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from flows.lesion_candidates import FoundCandidates, put_rules
from model.annotate import StructureResult
from model.grid import Box as ModelBox
from storage.grid import Box, Grid
from storage.masks import EncodedMask, encode_map, encode_mask
from storage.model_registry import CommitteeRecord
from storage.objects import ObjectStore
from storage.predictions import CONSENSUS, Manifest, StoredMap, StoredMask, flat_box
from storage.store import Store


def stored_manifest(
    store: Store,
    case_id: str,
    committee: CommitteeRecord,
    grid: Grid,
    results: Iterator[StructureResult],
) -> Manifest:
    """Store masks and maps, one structure at a time, and return the manifest that names them.

    Raises:
        CaseError: What the results raise.
        StorageError: The disk is full or the folder cannot be written to.
    """
    masks: list[StoredMask] = []
    maps: list[StoredMap] = []
    scores = []
    found = FoundCandidates(grid)
    for result in results:
        found.add(result)
        scores.extend(asdict(row) for row in result.scores)
        if result.box is not None:
            writer = _Writer(store.objects, result, _storage_box(result.box), grid)
            masks.extend(writer.masks())
            maps.extend(writer.maps())
    return Manifest(
        case_id=case_id,
        committee_id=committee.committee_id,
        members=tuple(member.to_json() for member in committee.members),
        grid=grid,
        masks=tuple(masks),
        maps=tuple(maps),
        scores=tuple(scores),
        post_process=put_rules(store, committee.rules),
        candidates=tuple(found.listed),
        candidates_left_out=found.left_out,
    )


class _Writer:
    """Stores what one structure's result holds."""

    def __init__(self, objects: ObjectStore, result: StructureResult, box: Box, grid: Grid) -> None:
        self._objects, self._result, self._box, self._grid = objects, result, box, grid

    def masks(self) -> Iterator[StoredMask]:
        """Store every voter's mask that is not empty."""
        voters = {CONSENSUS: self._result.consensus, **self._result.masks}
        for member, mask in voters.items():
            if mask is None:
                continue
            encoded = encode_mask(mask, self._box, self._grid)
            if (stored := self._put(encoded)) is not None:
                digest, crop = stored
                box, voxels = flat_box(crop), encoded.voxels
                yield StoredMask(member, self._result.structure, digest, box, voxels)

    def maps(self) -> Iterator[StoredMap]:
        """Store the maps that are not empty."""
        values = {
            "uncertainty": self._result.uncertainty,
            "disagreement": self._result.disagreement,
        }
        for kind, levels in values.items():
            if levels is None:
                continue
            if (stored := self._put(encode_map(levels, self._box, self._grid))) is not None:
                digest, crop = stored
                yield StoredMap(kind, self._result.structure, digest, flat_box(crop))

    def _put(self, encoded: EncodedMask) -> tuple[str, Box] | None:
        if encoded.data is None or encoded.box is None:
            return None
        return self._objects.put(encoded.data), encoded.box


def _storage_box(box: ModelBox) -> Box:
    i, j, k = zip(box.start, box.stop, strict=True)
    return (i, j, k)
