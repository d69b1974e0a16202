"""One structure of one CT in a region, opened to be edited by one reader in one tab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from review_app.session import Desk
from storage.cases import CaseRow
from storage.drafts import DraftKey
from storage.edited_mask import EditedMask, label_box, label_in, part_in
from storage.grid import Box, Grid
from storage.labels import LabelMask
from storage.open_readings import OpenReading

LayerKind = Literal["mask", "member", "neighbour", "heat"]

BASE_LAYER = "mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditLayer:
    """Something stored that is shown over the CT.

    Attributes:
        layer_id: What the page asks for it by; says nothing of whose it is when reading blind.
        name: Words for the reader.
        stored: Where it lies; a map has no count of voxels.
        exclusive: A neighbour that may not claim a voxel of the structure.
        kept: A neighbour that waits for a blind look, so nothing may be taken from it.
    """

    layer_id: str
    kind: LayerKind
    name: str
    rgb: tuple[int, int, int]
    stored: LabelMask
    exclusive: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is edited: one structure of one case, from one version.

    Attributes:
        base: The mask that the edit starts from.
        neighbours: Exclusive neighbours that have a mask: their version and mask.
        disagreement: Map of where members disagree; None where there is none.
        blind: Nothing may say what a model or another reader thought.
        findings: Voxels of the CT, RAS order, where the plausibility rules see a fault, then where
            a lesion may be outside of its mask.
        reading: The independent reading that is drawn; None where a label is judged.
        place: Voxel of the CT that the reader looks at first; None to begin with the mask.
    """

    case: CaseRow
    grid: Grid
    structure: str
    display: str
    rgb: tuple[int, int, int]
    base_version: str
    base: LabelMask
    layers: tuple[EditLayer, ...]
    neighbours: Mapping[str, tuple[str, LabelMask]]
    disagreement: LabelMask | None = None
    blind: bool = False
    findings: tuple[tuple[int, int, int], ...] = ()
    reading: OpenReading | None = None
    place: tuple[int, int, int] | None = None

    @property
    def verdicts(self) -> tuple[str, ...]:
        """What can be said of it beside a mask, as the page calls it."""
        every = ("accept", "absent", "reject", "unsure")
        return every if self.reading is None else ("absent", "unsure")

    @property
    def kept(self) -> frozenset[str]:
        """Layers from which nothing may be taken."""
        return frozenset(layer.layer_id for layer in self.layers if layer.kept)

    def draft_key(self, reader: str) -> DraftKey:
        """Return what a reader's draft of it is kept under; readings and reviews never meet."""
        name = self.structure if self.reading is None else f"reading {self.structure}"
        return DraftKey(reader, self.case.case_id, name, self.base_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditDocument:
    """An item in a region, open in one tab.

    Attributes:
        token: Names it in addresses; 192 bits.
        document_id: Names it to the tab's own script.
        xsrf: What every writing request carries.
        browser: Session of the browser that it was made for.
        tab: The tab.
        region_ras: The part of the CT that is edited.
    """

    token: str
    document_id: str
    xsrf: str
    browser: str
    tab: str
    here: Desk
    item: Item
    region_ras: Box

    @property
    def draft_key(self) -> DraftKey:
        """The draft that its edits go to."""
        return self.item.draft_key(self.here.reader)

    @property
    def shown_base(self) -> str:
        """The base version as the page knows it; an alias where it would tell the source."""
        return f"b-{self.document_id}" if self.item.blind else self.item.base_version

    @property
    def url(self) -> str:
        """Address of the document."""
        return f"/edit/{self.token}/document"

    def base_mask(self) -> EditedMask:
        """Return the whole base mask in its own box; the region, empty, where it is absent.

        Raises:
            StorageError: The mask is missing or damaged.
        """
        item = self.item
        box = label_box(item.base, item.grid) or self.region_ras
        return EditedMask(label_in(self.here.store.objects, item.base, item.grid, box), box)

    def is_changed_by(self, edited: EditedMask) -> bool:
        """Whether an edit differs from the base anywhere.

        Raises:
            StorageError: The mask is missing or damaged.
        """
        before = part_in(self.base_mask(), edited.box_ras)
        return not np.array_equal(before, edited.mask_ras)
