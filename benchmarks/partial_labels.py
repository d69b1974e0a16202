"""Partial labels on phantom sites: masked back-propagation against "missing is background".

Run: python -m benchmarks.partial_labels OUT [--seeds 0 1 2] [--workers 2] [--steps N] [--arms N]
                                             [--loss balanced|plain|cross_entropy]

Four sites annotate different structures and hand them out as label maps in numbers of their own, in
which one number means another structure at each site. A seed has phantoms (20 to train on, 12 to
test, three of them from a site that is never trained on), weights and patches of its own. Four arms
train the preset `small` alike:

    masked, one_hot       unannotated structures are not computed: no gradient
    background, one_hot   unannotated structures are taught as absent, as a plain multi-label
                          training on the same files does
    masked, learned       the first arm with a table of encodings that is trained with the network
    masked, anatomy       the first arm with encodings from the taxonomy's relations

With ``--loss plain`` foreground and background voxels weigh alike in the cross-entropy: the mean
over annotated structures of cross-entropy plus Dice, the loss in the code of the CLIP-driven
universal model. ``cross_entropy`` leaves out the Dice, the loss in that paper's text. ``balanced``
is ours.

Scored is DSC against the whole hidden truth on the native grid, of structures that are there and
that only some of the four sites annotate; differences are paired by case and their 95 % interval
draws patients of all seeds. Nothing here is a claim about CLIP: with published weights and
encodings the same comparison is `atlasloop train --encoding NAME`, once a prompt.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe
from configs.demo_members import load_demo_members
from configs.phantom import load_phantom_sites
from configs.taxonomy import load_taxonomy
from flows.phantom import make_cohort
from flows.tables import print_line
from flows.training_plan import preset_settings
from model.anatomy_encoding import anatomy_vectors
from model.annotate import AnnotateOptions
from model.cluster_bootstrap import clustered_interval
from model.committee import CommitteeMember
from model.consensus import consensus_of
from model.metrics import Agreement, Mask, dice
from model.network_options import NetworkOptions
from model.training import new_network, train_member
from model.training_samples import TrainingSample
from model.universal import UniversalNetwork
from storage.cohort import CohortCase, read_cohort

ARMS = (
    ("masked", "one_hot"),
    ("background", "one_hot"),
    ("masked", "learned"),
    ("masked", "anatomy"),
)
LOSSES: dict[str, dict[str, Any]] = {
    "balanced": {},
    "plain": {"balance": (1.0, 1.0)},
    "cross_entropy": {"balance": (1.0, 1.0), "dice_weight": 0.0},
}
"""What each loss changes in the preset's settings."""
_FIRST_SEED = 7000
"""Far from the seeds on which presets were chosen and from the demo's."""
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One arm of one seed, as plain values for a process of its own."""

    out: Path
    seed: int
    missing: str
    encoding: str
    steps: int | None
    loss: str = "balanced"

    @property
    def result(self) -> Path:
        """Where its scores lie; an arm that is there is not trained again."""
        steps = self.steps or "preset"
        loss = "" if self.loss == "balanced" else f"-{self.loss}"
        return self.out / f"seed-{self.seed}-{self.missing}-{self.encoding}-{steps}{loss}.json"


def main() -> None:
    """Make the phantoms, train all arms, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--arms", type=int, default=len(ARMS), help="only the first N")
    parser.add_argument("--loss", choices=sorted(LOSSES), default="balanced")
    arguments = parser.parse_args()
    arms = ARMS[: arguments.arms]
    for seed in arguments.seeds:
        _make_phantoms(arguments.out, seed, arguments.workers)
    jobs = [
        Job(
            out=arguments.out,
            seed=seed,
            missing=missing,
            encoding=encoding,
            steps=arguments.steps,
            loss=arguments.loss,
        )
        for seed, (missing, encoding) in product(arguments.seeds, arms)
    ]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=spawn) as pool:
        for job, _ in zip(jobs, pool.map(run, jobs), strict=True):
            print_line(f"seed {job.seed}, {job.missing}, {job.encoding}: done")
    print_line(describe("torch", "numpy"))
    for line in _tables(jobs, arms):
        print_line(line)


def run(job: Job) -> None:
    """Train one arm and write DSC by test case and structure."""
    if job.result.exists():
        return
    torch.set_num_threads(1)
    member = _train(job)
    scores = {
        f"{job.seed}/{case.case}": _scores(member, case)
        for case in read_cohort(_folder(job.out, job.seed, "test")).cases
    }
    scratch = job.result.with_suffix(".part")
    scratch.write_text(json.dumps(scores, indent=1), encoding="utf-8")
    scratch.replace(job.result)


def renumbered(masks: Mapping[str, Mask], numbers: Mapping[str, int]) -> np.ndarray:
    """Paint masks as a label map in a site's own numbers; a lesion lies over its organ."""
    taxonomy = load_taxonomy()
    shape = next(iter(masks.values())).shape
    labels = np.zeros(shape, np.uint8)
    for structure in sorted(masks, key=lambda name: taxonomy[name].is_lesion):
        labels[masks[structure]] = numbers[structure]
    return labels


def decoded(labels: np.ndarray, numbers: Mapping[str, int]) -> dict[str, Mask]:
    """Return the masks of a label map; an organ includes the lesions painted over it."""
    taxonomy = load_taxonomy()
    masks: dict[str, Mask] = {}
    for structure, number in numbers.items():
        inside = [number, *(numbers[c] for c in taxonomy.children(structure) if c in numbers)]
        masks[structure] = np.isin(labels, inside)
    return masks


def _make_phantoms(out: Path, seed: int, workers: int) -> None:
    training = [site.name for site in load_phantom_sites().sites if site.role == "train"]
    first = _FIRST_SEED + 2 * seed
    for part, cases, sites, part_seed in (
        ("train", 20, training, first),
        ("test", 12, None, first + 1),
    ):
        make_cohort(
            _folder(out, seed, part), cases=cases, seed=part_seed, sites=sites, workers=workers
        )


def _folder(out: Path, seed: int, part: str) -> Path:
    return out / f"phantoms-{seed}" / part


def _train(job: Job) -> CommitteeMember:
    preset = load_demo_members().find("small")
    settings = replace(
        preset_settings(preset),
        encoding="text" if job.encoding == "anatomy" else job.encoding,
        steps=job.steps or preset.steps,
        seed=preset.seed + 100 * job.seed,
        **LOSSES[job.loss],
    )
    names = load_taxonomy().names
    cases = read_cohort(_folder(job.out, job.seed, "train")).cases
    text = anatomy_vectors(load_taxonomy(), names) if job.encoding == "anatomy" else None
    network: UniversalNetwork = new_network(settings, names, text)
    samples = [_sample(case, names, job.missing) for case in cases]
    trained = train_member(samples, settings, network, device=_CPU)
    return CommitteeMember(
        name="one",
        family="one",
        network=trained.network,
        inference=trained.inference,
        structures=trained.network.structures,
    )


def _sample(case: CohortCase, names: Sequence[str], missing: str) -> TrainingSample:
    """Return a case as a training reads it: through the site's own label map."""
    hu, spacing_mm = case.read_hu()
    numbers = {name: number for number, name in enumerate(case.annotated, start=1)}
    masks = decoded(renumbered(case.read_labels(), numbers), numbers)
    if missing == "background":
        nothing = np.zeros(hu.shape, np.bool_)
        masks = {name: masks.get(name, nothing) for name in names}
    return TrainingSample(hu, spacing_mm, masks)


def _scores(member: CommitteeMember, case: CohortCase) -> dict[str, float]:
    """Return DSC of the structures that are there."""
    hu, spacing_mm = case.read_hu()
    truth = {name: mask for name, mask in case.read_truth().items() if mask.any()}
    scores: dict[str, float] = {}
    found = consensus_of(
        hu,
        spacing_mm,
        [member],
        structures=tuple(truth),
        device=_CPU,
        options=AnnotateOptions(network=NetworkOptions(precision="bfloat16")),
    )
    for result in found:
        drawn = np.zeros(hu.shape, np.bool_)
        if result.box is not None and result.mask is not None:
            drawn[result.box.slices] = result.mask
        score = dice(drawn, truth[result.structure])
        if not isinstance(score, Agreement):
            scores[result.structure] = score
    return scores


def _tables(jobs: Sequence[Job], arms: Sequence[tuple[str, str]]) -> list[str]:
    """Return a table over all structures that only some sites annotate, then by number of sites."""
    sites = [site for site in load_phantom_sites().sites if site.role == "train"]
    annotating = {
        name: sum(name in site.annotates for site in sites) for name in load_taxonomy().names
    }
    scores = {
        arm: _pooled([job for job in jobs if (job.missing, job.encoding) == arm]) for arm in arms
    }
    some = [name for name, count in annotating.items() if 0 < count < len(sites)]
    lines = _table(scores, some, f"{len(some)} structures that only some sites annotate")
    for count in range(1, len(sites)):
        group = [name for name in some if annotating[name] == count]
        if group:
            lines += _table(scores, group, f"{len(group)} structures of {count} sites")
    return lines


def _table(
    scores: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]],
    structures: Sequence[str],
    title: str,
) -> list[str]:
    base = scores[ARMS[0]]  # always among those that ran
    cases = sorted(base)
    lines = [
        "",
        f"{title}, {len(cases)} test cases",
        "",
        "| arm | mean DSC | difference to the first | 95 % interval |",
        "|---|---|---|---|",
    ]
    for arm in scores:
        sums, counts = _by_case(scores[arm], cases, structures)
        base_sums, _ = _by_case(base, cases, structures)
        interval = clustered_interval(base_sums - sums, counts, np.random.default_rng(0))
        shown = "-" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"
        difference = _macro(base_sums, counts) - _macro(sums, counts)
        lines.append(
            f"| {arm[0]}, {arm[1]} | {_macro(sums, counts):.3f} | {difference:+.3f} | {shown} |"
        )
    return lines


def _pooled(jobs: Sequence[Job]) -> dict[str, dict[str, float]]:
    pooled: dict[str, dict[str, float]] = {}
    for job in jobs:
        pooled.update(json.loads(job.result.read_text(encoding="utf-8")))
    return pooled


def _by_case(
    scores: Mapping[str, Mapping[str, float]], cases: Sequence[str], structures: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return DSC and presence, shape (cases, structures); each case is a patient of its own."""
    sums = np.array([[scores[case].get(name, 0.0) for name in structures] for case in cases])
    counts = np.array([[float(name in scores[case]) for name in structures] for case in cases])
    return sums, counts


def _macro(sums: np.ndarray, counts: np.ndarray) -> float:
    known = counts.sum(axis=0) > 0
    return float((sums.sum(axis=0)[known] / counts.sum(axis=0)[known]).mean())


if __name__ == "__main__":
    main()
