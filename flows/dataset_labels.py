"""From a dataset's label files of one case to masks of our structures, with what is odd there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from configs.connectors import Dataset, other_side
from configs.errors import CaseError, Reason
from configs.taxonomy import load_taxonomy
from model.flat_labels import with_values
from model.midline import Midline, Side, body_midline
from model.side_split import SideFinding, side_of, split_sides
from storage.dataset_files import DatasetCase
from storage.grid import Grid
from storage.grid_match import check_same_grid
from storage.image_faults import VolumeLimits
from storage.label_file import LabelFile, read_label_file
from storage.volume import Volume

Mask = npt.NDArray[np.bool_]

# Organs that lie on one side in nearly everybody; elsewhere, the image may be mirrored.
_LANDMARKS: dict[str, Side] = {"liver": "right", "spleen": "left"}
_WHOLE_BYTE = range(256)


class Oddity(StrEnum):
    """What a label says that a human should know; none of it stops an import."""

    MIRRORED = "mirrored"
    WRONG_SIDE = "wrong_side"
    UNSURE_SIDE = "unsure_side"
    FUSED = "fused"
    ONE_SIDE = "one_side"
    SPECKS = "specks"
    MISSING_FILE = "missing_file"


_SPLIT_ODDITIES = {
    SideFinding.UNSURE: (
        Oddity.UNSURE_SIDE,
        "a part lies where the body's midline may be: neither side is taken over",
    ),
    SideFinding.FUSED: (Oddity.FUSED, "both sides touch and were parted where they are thinnest"),
    SideFinding.ONE_SIDE: (Oddity.ONE_SIDE, "one side has no voxel: absent, or out of view"),
    SideFinding.SPECKS: (Oddity.SPECKS, "small parts on the midline were left out"),
}


@dataclass(frozen=True, slots=True)
class LabelFinding:
    """Something odd in a case's labels."""

    structure: str
    oddity: Oddity
    text: str


class CaseLabelReader:
    """Reads one case's labels; masks come one at a time, findings gather meanwhile.

    Attributes:
        findings: What was odd so far.
        demoted: Structures whose side contradicts the body: to be kept as weak.
    """

    def __init__(self, dataset: Dataset, case: DatasetCase, limits: VolumeLimits) -> None:
        self._dataset = dataset
        self._case = case
        self._limits = limits
        self._ct = Volume.open(case.image, limits=limits)
        self._midline: Midline | None = None
        self.findings: list[LabelFinding] = []
        self.demoted: set[str] = set()

    @property
    def grid(self) -> Grid:
        """The CT's grid."""
        return self._ct.grid

    def masks(self) -> Iterator[tuple[str, Mask]]:
        """Yield every structure that was looked for and its mask, RAS order, empty where absent.

        Pairs that the dataset does not part come last, since landmarks must be seen before.

        Raises:
            CaseError: A file cannot be used, lies on another grid, or holds undeclared values.
        """
        wanted = self._dataset.annotated_in(self._case.number)
        combined = None if self._case.combined is None else self._read_map(self._case.combined.name)
        pairs: dict[str, Mask] = {}
        is_mirrored = False
        for structure in wanted:
            mask = self._native_mask(structure, combined)
            if mask is None:
                continue
            if self._dataset.map[structure].split:
                if other_side(structure) not in pairs:
                    pairs[structure] = mask
                continue
            is_mirrored |= self._lies_wrongly(structure, mask)
            yield structure, mask
        for structure, mask in pairs.items():
            yield from self._split(structure, mask, is_mirrored=is_mirrored)

    def _native_mask(self, structure: str, combined: LabelFile | None) -> Mask | None:
        """Return a structure's mask before any split; None where nobody looked for it."""
        source = self._dataset.map[structure]
        if combined is None:
            return self._mask_of_files(structure)
        mask = with_values(combined.values_ras, source.values)
        if self._dataset.presence == "occurring" and not mask.any():
            return None
        return mask

    def _mask_of_files(self, structure: str) -> Mask | None:
        names = self._dataset.map[structure].files
        missing = [name for name in names if name not in self._case.masks]
        if missing:
            if self._dataset.presence != "files":
                text = f"{', '.join(missing)} is no file of the case: not counted as looked for"
                self._find(structure, Oddity.MISSING_FILE, text)
            return None
        mask = np.zeros(self.grid.ras_shape, np.bool_)
        for name in names:
            path = self._case.masks[name]
            read = read_label_file(path, self._limits, allowed=(1,))
            check_same_grid(read.grid, self.grid, path.name)
            mask |= read.values_ras.astype(np.bool_)
        return mask

    def _read_map(self, name: str) -> LabelFile:
        """Return the case's label map when every value in it is declared."""
        assert self._case.combined is not None  # noqa: S101 only our own bug could break it
        declared = sorted(self._dataset.labels)
        rule = f"label maps of {self._dataset.id} hold 0 and {declared}"
        try:
            read = read_label_file(self._case.combined, self._limits, allowed=_WHOLE_BYTE)
        except CaseError as error:
            if error.reason is not Reason.FOREIGN_VALUES:
                raise
            raise CaseError(error.reason, f"{rule}; {error}") from error
        counts = np.bincount(read.values_ras.ravel(), minlength=256)
        strange = [int(v) for v in np.flatnonzero(counts) if v and v not in self._dataset.labels]
        if strange:
            listed = ", ".join(f"{value} ({counts[value]} voxels)" for value in strange)
            raise CaseError(
                Reason.FOREIGN_VALUES,
                f"{rule}, {name} holds {listed} as well; it may be another release or another "
                f"dataset: see `atlasloop datasets show {self._dataset.id}`",
            )
        check_same_grid(read.grid, self.grid, name)
        return read

    def _lies_wrongly(self, structure: str, mask: Mask) -> bool:
        """Note a structure on the wrong side; True where the whole image may be mirrored."""
        side = _LANDMARKS.get(structure) or load_taxonomy()[structure].side
        if side is None or not mask.any():
            return False
        found = side_of(mask, self._where_midline())
        if found is None or found == side:
            return False
        where = f"lies {found} of the body's midline"
        if structure in _LANDMARKS:
            text = f"{where}: the image may be mirrored by a wrong header; pairs are not parted"
            self._find(structure, Oddity.MIRRORED, text)
            return True
        self._find(structure, Oddity.WRONG_SIDE, f"{where}: kept for comparison only")
        self.demoted.add(structure)
        return False

    def _split(
        self, structure: str, mask: Mask, *, is_mirrored: bool
    ) -> Iterator[tuple[str, Mask]]:
        left, right = sorted((structure, other_side(structure)))
        if is_mirrored:
            for name in (left, right):
                self._find(name, Oddity.UNSURE_SIDE, "the image may be mirrored: not taken over")
            return
        split = split_sides(mask, self._where_midline(), self.grid.ras_spacing_mm)
        for finding in split.findings:
            for name in (left, right):
                self._find(name, *_SPLIT_ODDITIES[finding])
        if split.is_sure:
            yield left, split.left
            yield right, split.right

    def _where_midline(self) -> Midline:
        if self._midline is None:
            self._midline = body_midline(self._ct.read_ras(), self.grid.ras_spacing_mm)
        return self._midline

    def _find(self, structure: str, oddity: Oddity, text: str) -> None:
        self.findings.append(LabelFinding(structure, oddity, text))
