"""Results of a committee as objects, and the manifest that names them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Self

from flows.lesion_candidates import FoundCandidates, put_rules
from model.annotate import StructureResult
from model.grid import Box as ModelBox
from model.scores import Bytes, Mask
from storage.grid import Box, Grid
from storage.masks import EncodedMask, encode_map, encode_mask
from storage.model_registry import CommitteeRecord
from storage.objects import ObjectStore
from storage.predictions import CONSENSUS, FlatBox, Manifest, StoredMap, StoredMask, flat_box
from storage.store import Store

_THREADS = 3
_HELD_RESULTS = 2


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
    scores = []
    found = FoundCandidates(grid)
    with _Writing(store.objects, grid) as writing:
        for result in results:
            found.add(result)
            scores.extend(asdict(row) for row in result.scores)
            writing.begin(result)
        written = writing.end()
    return Manifest(
        case_id=case_id,
        committee_id=committee.committee_id,
        members=tuple(member.to_json() for member in committee.members),
        grid=grid,
        masks=tuple(mask for one in written for mask in one.masks),
        maps=tuple(stored for one in written for stored in one.maps),
        scores=tuple(scores),
        post_process=put_rules(store, committee.rules),
        candidates=tuple(found.listed),
        candidates_left_out=found.left_out,
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """What is stored of one structure."""

    masks: list[StoredMask]
    maps: list[StoredMap]


class _Writing:
    """Packs and stores structure after structure in threads, while the next are being computed.

    Most of the time goes by waiting for the disk to flush. Nothing is left to do once ``end`` has
    returned: every object is durable.
    """

    def __init__(self, objects: ObjectStore, grid: Grid) -> None:
        self._objects, self._grid = objects, grid
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="write")
        self._coming: deque[Future[_Written]] = deque()
        self._written: list[_Written] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, result: StructureResult) -> None:
        """Have a structure stored; waits while more than a few results are held.

        Raises:
            StorageError: One could not be written.
        """
        while len(self._coming) >= _HELD_RESULTS:
            self._written.append(self._coming.popleft().result())
        self._coming.append(self._pool.submit(_write, self._objects, result, self._grid))

    def end(self) -> list[_Written]:
        """Wait for all; in the order in which they began.

        Raises:
            StorageError: One could not be written.
        """
        while self._coming:
            self._written.append(self._coming.popleft().result())
        return self._written


def _write(objects: ObjectStore, result: StructureResult, grid: Grid) -> _Written:
    """Store every voter's mask and the maps, what is not empty of them."""
    if result.box is None:
        return _Written([], [])
    packer = _Packer(objects, _storage_box(result.box), grid)
    masks: list[StoredMask] = []
    for member, mask in {CONSENSUS: result.consensus, **result.masks}.items():
        if mask is not None and (stored := packer.mask(mask)) is not None:
            masks.append(StoredMask(member, result.structure, *stored))
    values = {"uncertainty": result.uncertainty, "disagreement": result.disagreement}
    maps: list[StoredMap] = []
    for kind, levels in values.items():
        if levels is not None and (stored := packer.map(levels)) is not None:
            maps.append(StoredMap(kind, result.structure, *stored))
    return _Written(masks, maps)


class _Packer:
    """Packs and stores crops of one box; the very same mask once."""

    def __init__(self, objects: ObjectStore, box: Box, grid: Grid) -> None:
        self._objects, self._box, self._grid = objects, box, grid
        self._done: dict[int, tuple[str, FlatBox, int] | None] = {}

    def mask(self, mask: Mask) -> tuple[str, FlatBox, int] | None:
        """Return object, box and voxels of a mask; None when it is empty."""
        if id(mask) not in self._done:
            encoded = encode_mask(mask, self._box, self._grid)
            stored = self._put(encoded)
            self._done[id(mask)] = stored and (*stored, encoded.voxels)
        return self._done[id(mask)]

    def map(self, levels: Bytes) -> tuple[str, FlatBox] | None:
        """Return object and box of a map; None when it is empty."""
        return self._put(encode_map(levels, self._box, self._grid))

    def _put(self, encoded: EncodedMask) -> tuple[str, FlatBox] | None:
        if encoded.data is None or encoded.box is None:
            return None
        return self._objects.put(encoded.data), flat_box(encoded.box)


def _storage_box(box: ModelBox) -> Box:
    i, j, k = zip(box.start, box.stop, strict=True)
    return (i, j, k)
