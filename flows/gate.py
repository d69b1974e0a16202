"""Show champion and challenger the same frozen patients and gather what they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from configs.post_process import post_process_in_force
from configs.taxonomy import load_taxonomy
from flows.devices import choose_device
from flows.limits import volume_limits
from flows.member_networks import annotate_options
from flows.progress import Advance, silent
from model.annotate import AnnotateOptions
from model.committee import CommitteeMember
from model.consensus import consensus_of
from model.gate import GateObservation, Outcomes
from model.gate_outcomes import count_lesions, outcomes
from model.grid import Box
from model.metrics import Mask
from storage.cases import CaseRow, existing_file
from storage.grid import Grid
from storage.label_masks import read_label_crop
from storage.labels import LabelMask
from storage.predictions import CONSENSUS, masks_of_case
from storage.store import Store
from storage.volume import Volume

References = Mapping[str, Mapping[str, LabelMask]]
"""Case id -> structure -> what the reference says."""

Running = tuple[torch.device, AnnotateOptions]
"""Where and how networks run."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A committee whose masks are asked for.

    Attributes:
        members: Its networks.
        closed: Case id -> prediction id of what it has annotated already; these masks are what its
            networks would draw, since a committee's id names all that changes a mask.
    """

    members: Sequence[CommitteeMember]
    closed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rivals:
    """Two committees that differ in some members' weights."""

    champion: Contender
    challenger: Contender


@dataclass(frozen=True, slots=True)
class StructureOutcomes:
    """What several committees do on one structure of one case.

    Attributes:
        committees: In the order in which they were given.
        lesions: Lesions of the reference; 0 for organs.
    """

    structure: str
    committees: tuple[Outcomes, ...]
    lesions: int


def observe(
    store: Store,
    cases: Sequence[CaseRow],
    references: References,
    rivals: Rivals,
    *,
    running: Running,
    advance: Advance = silent,
) -> list[GateObservation]:
    """Return one observation a case and structure that has a reference.

    Nothing is stored: the challenger's masks of the gate cases are not labels.

    Args:
        store: The workspace.
        cases: Cases of frozen patients.
        references: What people said about them.
        rivals: The committees.
        running: Device, and how to run.
        advance: Told the cases that are done.

    Raises:
        CaseError: A CT is gone or was changed; a gate without it would be another gate.
    """
    observations: list[GateObservation] = []
    chosen = [case for case in cases if references.get(case.case_id)]
    committees = (rivals.champion, rivals.challenger)
    for number, case in enumerate(chosen, start=1):
        for entry in case_outcomes(
            store, case, references[case.case_id], committees, running=running
        ):
            champion, challenger = entry.committees
            observations.append(
                GateObservation(
                    patient=case.patient_id,
                    structure=entry.structure,
                    champion=champion,
                    challenger=challenger,
                    lesions=entry.lesions,
                )
            )
        advance(number, len(chosen))
    return observations


def case_outcomes(
    store: Store,
    case: CaseRow,
    references: Mapping[str, LabelMask],
    committees: Sequence[Contender],
    *,
    running: Running,
) -> Iterator[StructureOutcomes]:
    """Yield what each committee does on each structure of a case that has a reference.

    Raises:
        CaseError: The CT is gone or was changed.
    """
    file = existing_file(case)
    volume = Volume.open(file.path, limits=volume_limits(store.settings.intake))
    hu = volume.read_ras(expected_sha256=file.sha256)
    grid = volume.grid
    taxonomy = load_taxonomy()
    structures = taxonomy.select(tuple(references))
    found = [
        _stored(store, contender.closed[case.case_id], grid)
        if case.case_id in contender.closed
        else _drawn(hu, grid, contender.members, structures, running)
        for contender in committees
    ]
    for structure in structures:
        reference, box = read_reference(store, references[structure], grid)
        lesion = taxonomy[structure].is_lesion
        yield StructureOutcomes(
            structure,
            tuple(
                _outcomes(results.get(structure), reference, box, lesion=lesion)
                for results in found
            ),
            count_lesions(reference) if lesion else 0,
        )


def _drawn(
    hu: np.ndarray,
    grid: Grid,
    members: Sequence[CommitteeMember],
    structures: Sequence[str],
    running: Running,
) -> dict[str, tuple[Mask | None, Box | None]]:
    device, options = running
    results = consensus_of(
        hu, grid.ras_spacing_mm, members, structures=structures, device=device, options=options
    )
    return {result.structure: (result.mask, result.box) for result in results}


def _stored(
    store: Store, prediction_id: str, grid: Grid
) -> dict[str, tuple[Mask | None, Box | None]]:
    with store.read() as connection:
        masks = masks_of_case(connection, prediction_id)
    return {
        structure: read_reference(store, LabelMask(mask.object, mask.box, mask.voxels), grid)
        for structure, (mask, *_) in masks.items()
        if mask.member == CONSENSUS
    }


def read_reference(store: Store, label: LabelMask, grid: Grid) -> tuple[Mask | None, Box | None]:
    """Return a label as a crop in RAS order with its box, or None twice where it is absent."""
    found = read_label_crop(store.objects, label, grid.ras_shape)
    if found is None:
        return None, None
    ((i0, i1), (j0, j1), (k0, k1)), crop = found
    return crop.view(np.bool_), Box((i0, j0, k0), (i1, j1, k1))


def _outcomes(
    result: tuple[Mask | None, Box | None] | None,
    reference: Mask | None,
    box: Box | None,
    *,
    lesion: bool,
) -> Outcomes:
    consensus, where = result or (None, None)
    return outcomes(consensus, where, reference, box, lesion=lesion)


def running(store: Store) -> Running:
    """Return device and options of the settings, with the rules of post-processing."""
    settings = store.settings.annotate
    device = choose_device(settings.device)
    rules = post_process_in_force(settings.post_process, store.workspace.root)
    return device, annotate_options(settings, device, rules)
