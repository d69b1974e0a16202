"""From what the model finds on the native grid to what a manifest says of it."""

from __future__ import annotations

from configs.post_process import PostProcessRules
from model.annotate import StructureResult
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
            centre=self._grid.voxel_from_ras(one.candidate.centre),
            host_share=one.candidate.host_share,
            in_mask=one.in_mask,
        )


def put_rules(store: Store, rules: PostProcessRules | None) -> str:
    """Store the rules as an object, so that a case says what made its masks; return its name."""
    return RAW if rules is None else store.objects.put(rules.content)
