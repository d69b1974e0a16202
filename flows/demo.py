"""The whole loop once, from nothing to retrained models, on procedural phantoms."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from configs.demo_members import load_demo_members
from configs.phantom import load_phantom_sites
from flows.agreement_tables import print_macro_agreement
from flows.annotate import AnnotateSummary, annotate
from flows.demo_loop import LoopResult, close_loop
from flows.evaluate import Evaluation, Truth, evaluate
from flows.init import init
from flows.intake import IntakeSummary, intake
from flows.phantom import make_cohort
from flows.progress import shown
from flows.queue import ShownQueue, show_queue
from flows.queue_page import write_queue_page
from flows.reports import print_annotation, print_intake, print_queue, print_retraining
from flows.tables import print_line, print_table
from flows.train import train_committee
from flows.triage import triage
from storage.cohort import CohortCase, read_cohort
from storage.store import Store

TRAINING_CASES = 20
UNLABELED_CASES = 12
_PAGE_ENTRIES = 12
_PRINTED_ENTRIES = 6
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made.

    Attributes:
        page: The HTML page of the queue, as it was before the corrections.
        loop: What review, retraining and the gate made of it.
        seconds: Wall time by stage, in order.
    """

    store: Store
    taken: IntakeSummary
    annotated: AnnotateSummary
    queue: ShownQueue
    evaluation: Evaluation
    page: Path
    loop: LoopResult
    seconds: dict[str, float]


@dataclass(slots=True)
class _Stages:
    """Wall time by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def demo(out: Path, *, extra_cts: Sequence[Path] = (), seed: int = 0) -> DemoResult:
    """Make phantoms, train a committee on partially labeled sites, annotate, rank, review, retrain.

    A second run in the same folder keeps the phantoms and every case that is closed.

    Args:
        out: Folder for the workspace, the phantoms and the page.
        extra_cts: CTs of the user, annotated and queued with the phantoms, but not scored.
        seed: Seed of the phantoms.

    Raises:
        UsageError: The folder holds something else, or a CT is missing.
    """
    stages = _Stages()
    store = init(out / "workspace")
    with stages.timed("phantoms"):
        unlabeled = _make_phantoms(out, seed)
    with stages.timed("training"):
        store = _train_committee(store, out / "sites")
    with stages.timed("intake"):
        taken = intake(store, [out / "unlabeled", *extra_cts])
    with stages.timed("annotation"), shown("annotate") as advance:
        annotated = annotate(store, announce=print_line, advance=advance)
    with stages.timed("triage"):
        triage(store)
    with stages.timed("scoring"):
        evaluation = evaluate(store, _truths(taken, unlabeled))
    with stages.timed("page"):
        page = out / "queue.html"
        write_queue_page(store, show_queue(store, limit=_PAGE_ENTRIES), page)
    queue = show_queue(store, limit=_PRINTED_ENTRIES)
    with stages.timed("loop"), shown("annotate again") as advance:
        loop = close_loop(
            store, out / "sites", _truths(taken, unlabeled), seed=seed, advance=advance
        )
    return DemoResult(store, taken, annotated, queue, evaluation, page, loop, stages.seconds)


def print_demo(result: DemoResult) -> None:
    """Print what the demo found, and what its figures mean."""
    print_intake(result.taken)
    print_annotation(result.annotated)
    print_queue(result.queue)
    print_evaluation(result.evaluation)
    print_loop(result.loop)
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    print_line(f"{sum(result.seconds.values()):.0f} s in all: {times}")
    print_line(f"Queue with pictures: {result.page}")
    print_line(f"Workspace: {result.store.workspace.root} (try `atlasloop status -w` on it)")
    print_line(
        "These are phantoms: the figures show that the machinery works, not clinical accuracy."
    )


def print_evaluation(evaluation: Evaluation) -> None:
    """Print DSC per structure and how well the queue ranks, beside its baseline."""
    within = evaluation.ranking.within
    rows = [
        (
            entry.structure,
            entry.dsc,
            entry.cases,
            entry.false_positives,
            entry.agree_absent,
            within.get(entry.structure),
        )
        for entry in evaluation.accuracy
    ]
    columns = ["structure", "mean DSC", "n", "false pos.", "agree absent", "Spearman"]
    print_table("Consensus against the hidden truth of the phantoms", columns, rows)
    ranking = evaluation.ranking
    print_line(
        f"mean DSC over structures {_number(evaluation.macro_dsc)}; the queue's risk against true "
        f"error (1 - DSC), Spearman within structures, mean over {len(within)}: "
        f"{_number(ranking.macro)} (knowing each structure's mean alone: "
        f"{_number(ranking.baseline_macro)}); pooled over structures {_number(ranking.pooled)} "
        f"(baseline {_number(ranking.baseline_pooled)}), n = {ranking.n}"
    )


def print_loop(loop: LoopResult) -> None:
    """Print the verdicts, the gate and the three arms."""
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(loop.verdicts.items()))
    print_line(
        f"a simulated reader judged the queue's first items: {said}; and read {loop.independent} "
        "structures of the gate's patients without the AI's mask"
    )
    print_macro_agreement(loop.agreements)
    print_retraining(loop.retrained)
    rows = [("before", 0, loop.before), *((arm.name, arm.labels, arm.dsc) for arm in loop.arms)]
    columns = ["arm", "corrections", "mean DSC"]
    title = f"The same extra training, {loop.report_cases} report patients, hidden truth"
    print_table(title, columns, rows)
    print_line(
        "one seed and few patients: whether the queue beats chance is a question for "
        "benchmarks/arms.py"
    )
    print_annotation(loop.annotated)


def _make_phantoms(out: Path, seed: int) -> tuple[CohortCase, ...]:
    """Make labeled sites to train on, and unlabeled cases that also come from an unseen site."""
    sites = load_phantom_sites().sites
    training = [site.name for site in sites if site.role == "train"]
    total = TRAINING_CASES + UNLABELED_CASES
    with shown("phantoms") as advance:
        make_cohort(
            out / "sites",
            cases=TRAINING_CASES,
            seed=2 * seed,
            sites=training,
            workers=_WORKERS,
            progress=lambda done, _: advance(done, total),
        )
        make_cohort(
            out / "unlabeled",
            cases=UNLABELED_CASES,
            seed=2 * seed + 1,
            workers=_WORKERS,
            progress=lambda done, _: advance(TRAINING_CASES + done, total),
        )
    return read_cohort(out / "unlabeled").cases


def _train_committee(store: Store, cohort: Path) -> Store:
    """Train the members that the workspace lacks; returns the store with the new settings."""
    configured = {member.name for member in store.settings.committee}
    presets = [p for p in load_demo_members().committee if p.name not in configured]
    if presets:
        print_line(f"training {len(presets)} members side by side")
        train_committee(store, cohort, presets)
    return Store.open(store.workspace.root)


def _truths(taken: IntakeSummary, cases: Sequence[CohortCase]) -> dict[str, Truth]:
    by_path = {case.ct_path.resolve(): case for case in cases}
    return {
        file.case_id: partial(_read_truth, by_path[file.path.resolve()])
        for file in taken.taken
        if file.path.resolve() in by_path
    }


def _read_truth(case: CohortCase) -> dict[str, np.ndarray]:
    return case.read_truth()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
