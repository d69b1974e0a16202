"""Simulated committees on many patients, side by side; what is made once is read from a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UsageError
from configs.phantom import PhantomSite, load_phantom_sites
from configs.post_process import PostProcessRules, shipped_post_process
from configs.simulated_committee import (
    CommitteeScenario,
    FaultKind,
    SplitName,
    load_committee_scenario,
)
from configs.taxonomy import shipped_taxonomy
from flows.phantom import one_thread_each, site_protocol
from flows.process_pool import started
from model.grid import Grid
from model.metrics import Mask
from model.midline import body_midline
from model.phantom.generate import GENERATOR_VERSION, generate_phantom
from model.phantom.patient import REMOVABLE
from model.scores import ScoreRow
from model.simulated_committee.case import CaseOptions, SimulatedCase, case_scores
from model.simulated_committee.deformed_anatomy import Anatomy, deformed_case
from model.simulated_committee.faults import Fault
from model.simulated_committee.table import PatientCase
from storage.canonical_json import sha256_hex, to_bytes
from storage.durable_file import durable
from storage.image_faults import VolumeLimits
from storage.label_file import read_label_file

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

SIMULATOR_VERSION = 2
"""Rises whenever equal seeds give other numbers than before; so must it where scores change."""

# Values of a label map: organs by their place in the taxonomy, from 1; helpers of ours from 40 on.
_ORGANS = 25
_CORD = 43
_HELPERS = range(40, 48)

# Splits that things are tuned and fitted on.
_OPEN_SPLITS = ("development", "calibration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Which patients, and what may go wrong with their labels.

    Attributes:
        split: Whose seeds; each split has one use.
        count: How many patients.
        first: Place in the split of the first of them.
        scenario: How members err; the shipped one by default.
        kinds: Faults that may happen; None for all that are not sealed.
        sealed: Whether sealed kinds may happen: for final runs.
        rules: What is kept of raw masks; the shipped rules by default, None for none.
        label_map: Anatomy of the split ``priors``, an image file.
    """

    split: SplitName
    count: int
    first: int = 0
    scenario: CommitteeScenario = field(default_factory=load_committee_scenario)
    kinds: tuple[FaultKind, ...] | None = None
    sealed: bool = False
    rules: PostProcessRules | None = field(default_factory=shipped_post_process)
    label_map: Path | None = None

    def __post_init__(self) -> None:
        needs_map = self.scenario.splits[self.split].truth == "label_map"
        if self.sealed and self.split in _OPEN_SPLITS:
            raise UsageError(
                f"sealed faults are for final runs, on other patients than those of {self.split}"
            )
        if self.count < 1:
            raise UsageError(f"a simulation has at least one patient, got {self.count}")
        if needs_map and self.label_map is None:
            raise UsageError(f"patients of {self.split} come from a label map; name its file")

    @property
    def digest(self) -> str:
        """Return what tells the numbers of one simulation from another's, patients left out."""
        text = {
            "versions": [SIMULATOR_VERSION, GENERATOR_VERSION],
            "scenario": self.scenario.model_dump(mode="json"),
            "kinds": self.kinds,
            "sealed": self.sealed,
            "rules": self.rules and self.rules.model_dump(mode="json"),
            "label_map": self.label_map and sha256_hex(self.label_map.read_bytes()),
            "scores": [one.name for one in fields(ScoreRow)],
        }
        return sha256_hex(to_bytes(text))[:16]


@dataclass(frozen=True, slots=True)
class _Job:
    simulation: Simulation
    index: int
    path: Path | None

    @property
    def seed(self) -> int:
        return self.simulation.scenario.splits[self.simulation.split].seed(self.index)


def simulated_patients(
    simulation: Simulation,
    *,
    folder: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[PatientCase]:
    """Return the simulated cases of some patients, one each, in order.

    Equal simulations give equal numbers, whatever the number of workers.

    Args:
        simulation: Which patients, and what goes wrong.
        folder: Where numbers are kept and found again; nothing is kept when None. It may be
            deleted, and must be where code changed what scores mean.
        workers: Processes; 1 works in this one.
        progress: Called after every patient.

    Raises:
        UsageError: A value is out of range.
        CaseError: The label map is damaged.
    """
    home = None if folder is None else folder / simulation.digest
    indices = range(simulation.first, simulation.first + simulation.count)
    jobs = [
        _Job(simulation, n, None if home is None else home / f"{simulation.split}_{n:06d}.json")
        for n in indices
    ]
    seeds = [job.seed for job in jobs]
    found = {n: read for n, job in enumerate(jobs) if (read := _read(job.path)) is not None}
    missing = [n for n in range(len(jobs)) if n not in found]
    for n, case in _made(jobs, missing, workers):
        found[n] = case
        if progress is not None:
            progress(len(found), len(jobs))
    return [
        PatientCase(case_id=f"{simulation.split}-{seed}", patient=seed, case=found[n])
        for n, seed in enumerate(seeds)
    ]


def simulated_case(
    simulation: Simulation, index: int, *, keep_masks: bool = False
) -> SimulatedCase:
    """Return one patient's simulated case.

    Args:
        simulation: Split, scenario and faults.
        index: Place of the patient in the split.
        keep_masks: Whether masks of consensus, members and truth come with it.
    """
    seed = simulation.scenario.splits[simulation.split].seed(index)
    anatomy, committee = (
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part,))) for part in (1, 2)
    )
    options = CaseOptions(
        kinds=simulation.kinds,
        sealed=simulation.sealed,
        rules=simulation.rules,
        keep_masks=keep_masks,
    )
    scenario = simulation.scenario
    if scenario.splits[simulation.split].truth == "label_map":
        made = deformed_case(_anatomy(simulation.label_map), scenario.spacing_mm, anatomy)
        masks = {**_no_lesions(made.grid), **made.masks}
        options = replace(options, midline=made.midline)
    else:
        site = _site(simulation, index)
        thickness_mm = max(site.protocol.slice_thickness_mm, scenario.spacing_mm[2])
        protocol = replace(
            site_protocol(site), spacing_mm=scenario.spacing_mm, slice_thickness_mm=thickness_mm
        )
        phantom = generate_phantom(int(anatomy.integers(2**31)), protocol=protocol)
        masks = phantom.masks
        options = replace(options, midline=body_midline(phantom.hu, phantom.spacing_mm))
    return case_scores(masks, scenario.spacing_mm, scenario, committee, options=options)


def _made(
    jobs: Sequence[_Job], missing: Sequence[int], workers: int
) -> Iterator[tuple[int, SimulatedCase]]:
    """Make the cases of some jobs and yield each with its place, as they are done."""
    if workers == 1 or len(missing) < 2:
        for n in missing:
            yield n, _run(jobs[n])
        return
    with one_thread_each(), started(_run, [jobs[n] for n in missing], workers=workers) as futures:
        places = dict(zip(futures, missing, strict=True))
        for future in as_completed(futures):
            yield places[future], future.result()


def _run(job: _Job) -> SimulatedCase:
    case = simulated_case(job.simulation, job.index)
    if job.path is not None:
        with durable(job.path) as temporary:
            temporary.write_bytes(to_bytes(_as_json(case)))
    return case


def _site(simulation: Simulation, index: int) -> PhantomSite:
    role = simulation.scenario.splits[simulation.split].truth
    sites = load_phantom_sites()
    chosen = sites.training if role == "train" else sites.unseen
    return chosen[index % len(chosen)]


@cache
def _anatomy(path: Path | None) -> Anatomy:
    """Return the label map of a file; organs that it lacks are covered by nobody."""
    if path is None:
        raise UsageError("these patients come from a label map; name its file")
    names = shipped_taxonomy().names[:_ORGANS]
    file = read_label_file(path, VolumeLimits(), allowed=[*range(1, _ORGANS + 1), *_HELPERS])
    labels = file.values_ras
    there = set(np.unique(labels).tolist())
    return Anatomy(
        labels=labels,
        spacing_mm=file.grid.ras_spacing_mm,
        values={name: value for value, name in enumerate(names, start=1) if value in there},
        removable=REMOVABLE,
        cord=_CORD,
    )


def _no_lesions(grid: Grid) -> dict[str, Mask]:
    lesions = [one.name for one in shipped_taxonomy().structures if one.is_lesion]
    return {name: np.zeros(grid.shape, np.bool_) for name in lesions}


def _as_json(case: SimulatedCase) -> dict[str, Any]:
    """Return all but masks."""
    return {
        "rows": [asdict(row) for row in case.rows],
        "dsc": case.dsc,
        "present": case.present,
        "faults": [asdict(fault) for fault in case.fault_list],
        "shape": case.grid.shape,
        "spacing_mm": case.grid.spacing_mm,
    }


def _read(path: Path | None) -> SimulatedCase | None:
    """Return a case from its file; None where there is none."""
    if path is None or not path.is_file():
        return None
    kept = json.loads(path.read_bytes())
    faults = tuple(
        Fault(one["kind"], tuple(one["structures"]), tuple(one["members"]))
        for one in kept["faults"]
    )
    return SimulatedCase(
        rows=tuple(ScoreRow(**row) for row in kept["rows"]),
        dsc=kept["dsc"],
        present=kept["present"],
        faults={name: fault.kind for fault in faults for name in fault.structures},
        fault_list=faults,
        grid=Grid(*(tuple(kept[name]) for name in ("shape", "spacing_mm"))),
    )
