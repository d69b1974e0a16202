"""From what the model finds on the native grid to what a manifest says of it."""

from __future__ import annotations

from configs.post_process import PostProcessRules
from model.annotate import StructureResult
from model.grid import Shape
from model.triage_candidates import TriageCandidate
from storage.grid import Grid
from storage.predictions import RAW, StoredCandidate
from storage.store import Store


class FoundCandidates:
    """Gathers the candidates of one case, structure after structure.

    Attributes:
        listed: On the file's own grid.
        left_out: Structure -> how many were not listed; without those where none was left out.
    """

    def __init__(self, grid: Grid) -> None:
        self.listed: list[StoredCandidate] = []
        self.left_out: dict[str, int] = {}
        self._grid = grid

    def add(self, result: StructureResult) -> None:
        """Take the candidates of one structure."""
        found = result.candidates
        if found is None:
            return
        self.listed.extend(self._stored(result.structure, one) for one in found.listed)
        if found.left_out:
            self.left_out[result.structure] = found.left_out

    def _stored(self, structure: str, one: TriageCandidate) -> StoredCandidate:
        return StoredCandidate(
            structure=structure,
            peak=one.candidate.peak,
            volume_ml=one.candidate.volume_mm3 / 1000,
            centre=_file_voxel(one.candidate.centre, self._grid),
            host_share=one.candidate.host_share,
            in_mask=one.in_mask,
        )


def put_rules(store: Store, rules: PostProcessRules | None) -> str:
    """Store the rules as an object, so that a case says what made its masks; return its name."""
    return RAW if rules is None else store.objects.put(rules.content)


def _file_voxel(voxel: Shape, grid: Grid) -> Shape:
    i, j, k = voxel
    (a, _), (b, _), (c, _) = grid.box_from_ras(((i, i + 1), (j, j + 1), (k, k + 1)))
    return a, b, c
