"""Annotate every unfinished case with the committee: masks, maps and scores, one case at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch

from configs.errors import CaseError, Reason, SomeCasesFailedError
from configs.settings import AnnotateSettings
from configs.taxonomy import load_taxonomy
from flows.case_leases import CaseLeases
from flows.devices import choose_device, uses_bfloat16
from flows.lesion_candidates import FoundCandidates, put_rules
from flows.limits import volume_limits
from flows.progress import Advance, silent
from flows.runs import recorded_run
from model.annotate import AnnotateOptions, StructureResult, annotate_volume
from model.checkpoint import load_checkpoint
from model.committee import CommitteeMember
from model.grid import Box as ModelBox
from model.throughput import seconds_for, seconds_per_window
from storage.cases import CaseRow, existing_file, unfinished_cases
from storage.grid import Box, Grid
from storage.leases import Lease, at_work
from storage.masks import EncodedMask, encode_map, encode_mask
from storage.model_registry import CommitteeRecord, configured_committee
from storage.predictions import (
    CONSENSUS,
    Manifest,
    StoredMap,
    StoredMask,
    close_case,
    flat_box,
    record_failure,
)
from storage.store import Store
from storage.volume import Volume

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FailedCase:
    """A case that could not be annotated."""

    case_id: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class AnnotateSummary:
    """What a run did.

    Attributes:
        run_id: None when there was nothing to do and no run was recorded.
        closed: Cases closed by this run.
        closed_elsewhere: Cases that another process closed first.
        held_elsewhere: Cases left alone, since another living run computes them.
        failed: Cases recorded with a reason.
        seconds: Wall time of the cases, without loading the networks.
    """

    run_id: str | None
    committee_id: str
    closed: tuple[str, ...]
    closed_elsewhere: tuple[str, ...]
    held_elsewhere: tuple[str, ...]
    failed: tuple[FailedCase, ...]
    seconds: float

    def raise_for_failures(self) -> None:
        """Raise SomeCasesFailedError when a case failed, listing ids and reasons."""
        if self.failed:
            listed = ", ".join(f"{case.case_id} ({case.reason})" for case in self.failed)
            raise SomeCasesFailedError(f"{len(self.failed)} cases failed: {listed}")


def annotate(
    store: Store,
    *,
    limit: int | None = None,
    retry_failed: bool = False,
    announce: Callable[[str], None] = _LOG.info,
    advance: Advance = silent,
) -> AnnotateSummary:
    """Annotate the cases that the configured committee has not closed.

    Each case is read once and closed by one manifest, one journal line and one transaction, so that
    a kill at any instant loses the case at hand and nothing else.

    Args:
        store: The workspace.
        limit: Stop after so many cases.
        retry_failed: Try cases again that failed before.
        announce: Told the time estimate before the first case.
        advance: Told how many cases are done.

    Raises:
        ConfigError: The committee is not complete.
        ModelError: A checkpoint does not fit.
        StorageError: The workspace cannot be written to.
    """
    with annotation_run(store, limit=limit, retry_failed=retry_failed) as run:
        if run.cases:
            announce(run.estimate())
        return run.annotate([case.case_id for case in run.cases], advance)


def empty_summary(store: Store) -> AnnotateSummary:
    """Return what there is to say when no case is unfinished and no run was recorded."""
    committee_id = configured_committee(store).committee_id
    return AnnotateSummary(None, committee_id, (), (), (), (), 0.0)


@contextmanager
def annotation_run(
    store: Store, *, limit: int | None = None, retry_failed: bool = False
) -> Iterator[AnnotationRun]:
    """Open a run over the unfinished cases, with the committee loaded once.

    Takes and raises what ``annotate`` does.
    """
    committee = configured_committee(store)
    with store.read() as connection:
        cases = unfinished_cases(connection, committee.committee_id, retry_failed=retry_failed)
    cases = cases[:limit]
    device = choose_device(store.settings.annotate.device)
    facts = {
        "committee": committee.committee_id,
        "members": [member.to_json() for member in committee.members],
        "cases": len(cases),
        "device": device.type,
        "torch": torch.__version__,
    }
    with recorded_run(store, "annotate", facts) as run_id, at_work(store, run_id):
        yield AnnotationRun(store, committee, run_id, device, cases)


class AnnotationRun:
    """Loaded networks, the cases they are for, and where their results go."""

    def __init__(
        self,
        store: Store,
        committee: CommitteeRecord,
        run_id: str,
        device: torch.device,
        cases: Sequence[CaseRow],
    ) -> None:
        settings = store.settings.annotate
        self.run_id = run_id
        self.cases = tuple(cases)
        self._outcomes: dict[str, Lease | FailedCase] = {}
        self._seconds = 0.0
        self._store = store
        self._committee = committee
        self._device = device
        self._members = load_members(committee, settings, device)
        self._leases = CaseLeases(store, committee.committee_id, run_id)
        self._options = AnnotateOptions(
            batch_size=settings.window_batch,
            bf16=uses_bfloat16(settings.autocast, device),
            rules=committee.rules,
        )

    def estimate(self) -> str:
        """Return how long the cases will take at most, from the measured time of one window."""
        per_window = [
            seconds_per_window(member, self._device, bf16=self._options.bf16)
            for member in self._members
        ]
        total = sum(
            seconds_for(case.shape, case.spacing_mm, member, window_s)
            for case in self.cases
            for member, window_s in zip(self._members, per_window, strict=True)
        )
        return (
            f"{len(self.cases)} cases, {len(self._members)} members on {self._device}: the "
            f"networks need at most about {_duration(total)}; windows without body are skipped"
        )

    def annotate(self, case_ids: Collection[str], advance: Advance = silent) -> AnnotateSummary:
        """Annotate these of the run's cases in order; a failing one is recorded and the next comes.

        Calling it again with the same cases tries those again that it has not closed.
        """
        started = time.monotonic()
        todo = [case for case in self.cases if case.case_id in case_ids and not self._closed(case)]
        advance(0, len(todo))
        for number, case in enumerate(todo, start=1):
            self._outcomes[case.case_id] = self._annotate_or_fail(case)
            advance(number, len(todo))
        self._seconds += time.monotonic() - started
        return self.summary(case_ids)

    def summary(self, case_ids: Collection[str] | None = None) -> AnnotateSummary:
        """Return what became of these cases so far, or of all when None."""
        wanted = {
            case_id: outcome
            for case_id, outcome in self._outcomes.items()
            if case_ids is None or case_id in case_ids
        }

        def that_are(lease: Lease) -> tuple[str, ...]:
            return tuple(case_id for case_id, outcome in wanted.items() if outcome is lease)

        return AnnotateSummary(
            self.run_id,
            self._committee.committee_id,
            closed=that_are(Lease.TAKEN),
            closed_elsewhere=that_are(Lease.CLOSED),
            held_elsewhere=that_are(Lease.HELD),
            failed=tuple(case for case in wanted.values() if isinstance(case, FailedCase)),
            seconds=self._seconds,
        )

    def _closed(self, case: CaseRow) -> bool:
        return self._outcomes.get(case.case_id) is Lease.TAKEN

    def _annotate_or_fail(self, case: CaseRow) -> Lease | FailedCase:
        """Close a case that is free (TAKEN); else return why it was not, or how it failed."""
        lease = self._leases.take(case.case_id)
        if lease is not Lease.TAKEN:
            return lease
        try:
            return Lease.TAKEN if self._annotate(case) else Lease.CLOSED
        except CaseError as error:
            return self._fail(case, error.reason, str(error))
        except torch.OutOfMemoryError as error:
            return self._fail(case, Reason.OUT_OF_MEMORY, str(error))
        except MemoryError:
            return self._fail(case, Reason.OUT_OF_MEMORY, "the host's memory is full")
        except RuntimeError as error:
            _LOG.exception("%s failed", case.case_id)
            return self._fail(case, Reason.INFERENCE_FAILED, str(error))

    def _annotate(self, case: CaseRow) -> bool:
        started = time.monotonic()
        with self._leases.kept(case.case_id):
            manifest = self._compute(case)
        seconds = time.monotonic() - started
        _LOG.info("%s annotated in %.1f s", case.case_id, seconds)
        return close_case(self._store, manifest, run_id=self.run_id, seconds=seconds)

    def _compute(self, case: CaseRow) -> Manifest:
        file = existing_file(case)
        volume = Volume.open(file.path, limits=volume_limits(self._store.settings.intake))
        results = annotate_volume(
            volume.read_ras(expected_sha256=file.sha256),
            volume.grid.ras_spacing_mm,
            self._members,
            taxonomy=load_taxonomy(),
            device=self._device,
            options=self._options,
        )
        return self._manifest(case.case_id, volume.grid, results)

    def _manifest(self, case_id: str, grid: Grid, results: Iterator[StructureResult]) -> Manifest:
        masks: list[StoredMask] = []
        maps: list[StoredMap] = []
        scores = []
        found = FoundCandidates(grid)
        for result in results:
            found.add(result)
            scores.extend(asdict(row) for row in result.scores)
            if result.box is not None:
                box = _storage_box(result.box)
                masks.extend(self._store_masks(result, box, grid))
                maps.extend(self._store_maps(result, box, grid))
        return Manifest(
            case_id=case_id,
            committee_id=self._committee.committee_id,
            members=tuple(member.to_json() for member in self._committee.members),
            grid=grid,
            masks=tuple(masks),
            maps=tuple(maps),
            scores=tuple(scores),
            post_process=put_rules(self._store, self._committee.rules),
            candidates=tuple(found.listed),
            candidates_left_out=found.left_out,
        )

    def _store_masks(self, result: StructureResult, box: Box, grid: Grid) -> Iterator[StoredMask]:
        voters = {CONSENSUS: result.consensus, **result.masks}
        for member, mask in voters.items():
            if mask is None:
                continue
            encoded = encode_mask(mask, box, grid)
            if (stored := self._put(encoded)) is not None:
                digest, crop = stored
                yield StoredMask(member, result.structure, digest, flat_box(crop), encoded.voxels)

    def _store_maps(self, result: StructureResult, box: Box, grid: Grid) -> Iterator[StoredMap]:
        maps = {"uncertainty": result.uncertainty, "disagreement": result.disagreement}
        for kind, values in maps.items():
            if values is None:
                continue
            if (stored := self._put(encode_map(values, box, grid))) is not None:
                digest, crop = stored
                yield StoredMap(kind, result.structure, digest, flat_box(crop))

    def _put(self, encoded: EncodedMask) -> tuple[str, Box] | None:
        if encoded.data is None or encoded.box is None:
            return None
        return self._store.objects.put(encoded.data), encoded.box

    def _fail(self, case: CaseRow, reason: Reason, message: str) -> FailedCase:
        _LOG.warning("%s failed: %s", case.case_id, reason)
        record_failure(
            self._store,
            case.case_id,
            self._committee.committee_id,
            run_id=self.run_id,
            failure=(reason, message),
        )
        return FailedCase(case.case_id, reason, message)


def load_members(
    committee: CommitteeRecord, settings: AnnotateSettings, device: torch.device
) -> list[CommitteeMember]:
    """Load the committee's networks onto a device, in evaluation mode.

    Raises:
        ModelError: A checkpoint is damaged or of another kind.
    """
    members = []
    for record in committee.members:
        loaded = load_checkpoint(record.path)
        inference = loaded.inference
        if settings.overlap is not None:
            inference = replace(inference, overlap=settings.overlap)
        members.append(
            CommitteeMember(
                name=record.name,
                family=record.family,
                network=loaded.network.to(device).eval(),
                inference=inference,
                structures=loaded.network.structures,
            )
        )
    return members


def _storage_box(box: ModelBox) -> Box:
    i, j, k = zip(box.start, box.stop, strict=True)
    return (i, j, k)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
