"""The stages of annotating a case: read it, run the networks, write what they say."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from configs.taxonomy import load_taxonomy
from flows.case_leases import CaseLeases
from flows.case_manifest import stored_manifest
from flows.checked_precision import checked_options
from flows.limits import volume_limits
from model.annotate import AnnotateOptions, VolumePrediction, predict_volume
from model.committee import CommitteeMember
from model.resample import working_shape
from model.working_levels import LEVEL_BYTES
from storage.cases import CaseRow, existing_file
from storage.grid import Grid
from storage.model_registry import CommitteeRecord
from storage.predictions import close_case
from storage.store import Store
from storage.volume import Volume

_LOG = logging.getLogger(__name__)

_NO_VOXELS = np.zeros((0, 0, 0), np.int16)


@dataclass(slots=True)
class OpenedCase:
    """A CT in memory, once: the voxels are let go when the networks have seen them."""

    case: CaseRow
    grid: Grid
    hu: npt.NDArray[np.int16]
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PredictedCase:
    """What the networks say of a case, on their working grids."""

    case: CaseRow
    grid: Grid
    prediction: VolumePrediction
    seconds: dict[str, float]


class CaseStages:
    """What the stages share. Each may run in a thread of its own, on another case."""

    def __init__(
        self,
        store: Store,
        committee: CommitteeRecord,
        members: list[CommitteeMember],
        *,
        device: torch.device,
        options: AnnotateOptions,
    ) -> None:
        self.options = options
        self._store, self._committee, self._members = store, committee, members
        self._device = device
        self._precision_is_checked = False

    def read(self, case: CaseRow) -> OpenedCase:
        """Read a case and see to it that it is the file that intake saw.

        Raises:
            CaseError: Its files are gone, changed or damaged.
        """
        started = time.monotonic()
        file = existing_file(case)
        volume = Volume.open(file.path, limits=volume_limits(self._store.settings.intake))
        hu = volume.read_ras(expected_sha256=file.sha256)
        return OpenedCase(case, volume.grid, hu, {"read": time.monotonic() - started})

    def predict(self, opened: OpenedCase) -> PredictedCase:
        """Run the networks, and let the voxels go.

        Raises:
            CaseError: Logits are not finite, or memory is not enough.
            ConfigError: The precision that is set is not within its tolerance.
        """
        hu, opened.hu = opened.hu, _NO_VOXELS
        spacing_mm = opened.grid.ras_spacing_mm
        self._check_precision(hu, spacing_mm)
        started = time.monotonic()
        prediction = predict_volume(
            hu,
            spacing_mm,
            self._members,
            taxonomy=load_taxonomy(),
            device=self._device,
            options=self.options,
        )
        seconds = {**opened.seconds, "network": time.monotonic() - started}
        return PredictedCase(opened.case, opened.grid, prediction, seconds)

    def close(self, predicted: PredictedCase, leases: CaseLeases, worker: str) -> bool:
        """Bring the structures to the CT's grid, store them and close the case.

        Returns:
            Whether it was this worker that closed it.

        Raises:
            CaseError: Memory is not enough.
            StorageError: The workspace cannot be written to.
        """
        started, case_id = time.monotonic(), predicted.case.case_id
        manifest = stored_manifest(
            self._store,
            case_id,
            self._committee,
            predicted.grid,
            predicted.prediction.results(),
        )
        seconds = {**predicted.seconds, "write": time.monotonic() - started}
        facts: dict[str, object] = {
            "stages_s": {name: round(value, 3) for name, value in seconds.items()}
        }
        if predicted.prediction.fallbacks:
            facts["fallbacks"] = list(predicted.prediction.fallbacks)
        leases.forget(case_id)
        total = sum(seconds.values())
        _LOG.info("%s annotated in %.1f s", case_id, total)
        return close_case(self._store, manifest, run_id=worker, seconds=total, facts=facts)

    def probability_bytes(self, case: CaseRow) -> int:
        """Return what the networks' probabilities of a case take in memory."""
        return sum(
            LEVEL_BYTES
            * len(member.structures)
            * int(np.prod(working_shape(case.shape, case.spacing_mm, member.inference.spacing_mm)))
            for member in self._members
        )

    def _check_precision(
        self, hu: npt.NDArray[np.int16], spacing_mm: tuple[float, float, float]
    ) -> None:
        if self._precision_is_checked:
            return
        network = checked_options(
            self._store,
            self._committee.committee_id,
            self.options.network,
            (hu, spacing_mm),
            self._members,
        )
        self.options = replace(self.options, network=network)
        self._precision_is_checked = True
