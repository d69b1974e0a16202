"""A simulated reader of phantoms that judges through the same doors as a human."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from configs.simulated_reader import ReaderSkill
from configs.taxonomy import load_taxonomy
from flows.training_cases import TrainingLabel
from model.metrics import Agreement, dice
from model.simulated_reader import outline
from storage.claims import claim_items
from storage.grid import Grid
from storage.label_masks import read_label
from storage.labels import ABSENT, LabelMask, bases_of
from storage.masks import encode_mask
from storage.predictions import current_prediction, flat_box, manifest_grid
from storage.store import Store
from storage.verdicts import Verdict, VerdictKind, give_verdicts

Mask = npt.NDArray[np.bool_]
Truth = Callable[[], Mapping[str, Mask]]
Item = tuple[str, str]
"""Case and structure."""

_LEASE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedReader:
    """Reads phantoms whose truth is known; never a patient's CT.

    Attributes:
        store: The workspace.
        truths: Case id -> reader of its true masks.
        skill: How well it outlines.
        seed: Of its errors; equal seeds read alike in whatever order.
        name: The reader's name in verdicts.
    """

    store: Store
    truths: Mapping[str, Truth]
    skill: ReaderSkill
    seed: int
    name: str = "simulated"

    def review(self, items: Sequence[Item]) -> Counter[VerdictKind]:
        """Judge items with the AI's mask in view; returns how often each verdict was given.

        A mask near enough to the reader's own outline is accepted, a structure that the reader does
        not see is absent, everything else is corrected to the own outline.
        """
        given: Counter[VerdictKind] = Counter()
        for case_id, grid, outlines in self._outlines(items):
            now = _now()
            claim_items(
                self.store, case_id, list(outlines), reader=self.name, now=now, lease=_LEASE
            )
            with self.store.read() as connection:
                bases = bases_of(connection, case_id, list(outlines))
            verdicts = [
                self._judged(case_id, structure, outlines[structure], grid, base, now)
                for structure, base in bases.items()
            ]
            give_verdicts(self.store, verdicts, now=now)
            given.update(verdict.verdict for verdict in verdicts)
        return given

    def read_independently(self, items: Sequence[Item]) -> int:
        """Read assigned items without the AI's mask; returns how many."""
        count = 0
        for case_id, grid, outlines in self._outlines(items):
            now = _now()
            verdicts = [
                self._read(case_id, structure, own, grid, now)
                for structure, own in outlines.items()
            ]
            count += len(give_verdicts(self.store, verdicts, now=now))
        return count

    def labels(self, items: Sequence[Item]) -> list[TrainingLabel]:
        """Return what the reader would say of items, without recording it."""
        return [
            TrainingLabel(case_id, structure, self._put(own, grid))
            for case_id, grid, outlines in self._outlines(items)
            for structure, own in outlines.items()
        ]

    def true_labels(self, case_id: str) -> dict[str, LabelMask]:
        """Return the whole truth of a case, stored as objects that no line names."""
        grid = self._grid(case_id)
        return {name: self._put(mask, grid) for name, mask in self.truths[case_id]().items()}

    def _grid(self, case_id: str) -> Grid:
        with self.store.read() as connection:
            prediction_id = current_prediction(connection, case_id)
            return manifest_grid(self.store, prediction_id, connection)

    def _outlines(self, items: Sequence[Item]) -> Iterator[tuple[str, Grid, dict[str, Mask]]]:
        """Yield case, grid and the reader's outlines by structure; each truth is read once."""
        taxonomy = load_taxonomy()
        for case_id, group in groupby(sorted(items), key=lambda item: item[0]):
            truth = self.truths[case_id]()
            grid = self._grid(case_id)
            yield (
                case_id,
                grid,
                {
                    structure: outline(
                        truth[structure],
                        grid.ras_spacing_mm,
                        structure,
                        skill=self.skill,
                        lesion=taxonomy[structure].is_lesion,
                        generator=self._generator(case_id, structure),
                    )
                    for _, structure in group
                },
            )

    def _judged(
        self,
        case_id: str,
        structure: str,
        own: Mask,
        grid: Grid,
        base: tuple[str, LabelMask],
        now: datetime,
    ) -> Verdict:
        version, shown = base
        before = read_label(self.store.objects, shown, grid.ras_shape)
        kind = self._kind(before, own)
        return Verdict(
            case_id=case_id,
            structure=structure,
            verdict=kind,
            reader=self.name,
            base_version=version,
            request_id=uuid4().hex,
            opened_at=now,
            active_s=0.0,
            mask=self._put(own, grid) if kind == "correct" else None,
            voxels_changed=int(np.count_nonzero(before != own)) if kind == "correct" else 0,
        )

    def _read(self, case_id: str, structure: str, own: Mask, grid: Grid, now: datetime) -> Verdict:
        return Verdict(
            case_id=case_id,
            structure=structure,
            verdict="correct" if own.any() else "absent",
            reader=self.name,
            base_version=None,
            request_id=uuid4().hex,
            opened_at=now,
            active_s=0.0,
            reading="independent",
            mask=self._put(own, grid) if own.any() else None,
        )

    def _generator(self, case_id: str, structure: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(f"{case_id}/{structure}".encode())])

    def _kind(self, shown: Mask, own: Mask) -> VerdictKind:
        if not own.any():
            return "absent"
        score = dice(shown, own)
        near = not isinstance(score, Agreement) and score >= self.skill.accept_dsc
        return "accept" if near else "correct"

    def _put(self, mask: Mask, grid: Grid) -> LabelMask:
        i, j, k = grid.ras_shape
        encoded = encode_mask(mask, ((0, i), (0, j), (0, k)), grid)
        if encoded.data is None or encoded.box is None:
            return ABSENT
        digest = self.store.objects.put(encoded.data)
        return LabelMask(digest, flat_box(encoded.box), encoded.voxels)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
