"""The DSC of labels of a frame with what readers made of them, each pair compared once."""

from __future__ import annotations

from collections.abc import Sequence

from model.metrics import Agreement, dice
from storage.audit_answers import FramedLabel
from storage.label_crops import case_grids, paired_crops
from storage.labels import LabelMask
from storage.store import Store


class LabelOverlap:
    """Label and mask -> DSC on the native grid; None where both are empty."""

    def __init__(self, store: Store, labels: Sequence[FramedLabel]) -> None:
        self._objects = store.objects
        with store.read() as connection:
            self._grids = case_grids(connection, {label.case_id for label in labels})
        self._known: dict[tuple[str, str | None, str | None], float | None] = {}

    def __call__(self, label: FramedLabel, mask: LabelMask) -> float | None:
        """Compare a label with a mask of the same structure and case."""
        pair = (label.case_id, label.predicted.object, mask.object)
        if pair not in self._known:
            self._known[pair] = self._dsc(label, mask)
        return self._known[pair]

    def _dsc(self, label: FramedLabel, mask: LabelMask) -> float | None:
        if label.predicted.object == mask.object:
            return None if mask.object is None else 1.0
        if label.predicted.object is None or mask.object is None:
            return 0.0
        shape = self._grids[label.case_id].ras_shape
        dsc = dice(*paired_crops(self._objects, label.predicted, mask, shape))
        return None if isinstance(dsc, Agreement) else dsc
