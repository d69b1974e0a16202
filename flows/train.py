"""Train a universal network on folders of partially labeled cases and register its weights."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from configs.demo_members import MemberPreset
from configs.errors import ConflictError, ModelError, UsageError
from configs.phantom import load_phantom_sites
from configs.settings import MemberSettings
from configs.taxonomy import load_taxonomy, shipped_taxonomy
from flows.devices import choose_device
from flows.initial_weights import initialise
from flows.process_pool import side_by_side
from flows.progress import Advance, silent
from flows.ranks import Ranks, joined_ranks
from flows.runs import code_versions, recorded_run
from flows.stop_signals import StopAsked, stop_signals
from flows.train_loop import TrainingLoop, TrainingWatch
from flows.training_plan import TrainingPlan, TrainOverrides, new_plan
from model.checkpoint import save_checkpoint
from model.model_card import DatasetUse, training_card
from model.training import (
    TrainedMember,
    new_network,
    train_member,
    trained_member,
    training_sampler,
)
from model.training_engine import TrainingEngine, free_bytes
from model.training_memory import MemoryEstimator, advice, surely_fits
from model.training_samples import TrainingSample
from model.universal import UniversalNetwork
from storage.canonical_json import JsonObject
from storage.cohort import CohortCase, read_cohort
from storage.model_registry import RegisteredModel, register_model
from storage.store import Store
from storage.training_runs import TrainingRun, begin_run, training_run, unfinished_run
from storage.workspace import join_committee

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training of the committee, as plain values that a process of its own can take.

    Attributes:
        threads: Threads to use; ``None`` leaves it to torch.
    """

    plan: TrainingPlan
    device: str
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A trained model before it is registered.

    Attributes:
        final_loss: Mean loss of the last tenth of the steps.
    """

    checkpoint: bytes
    card: JsonObject
    final_loss: float


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """What training gave.

    Attributes:
        final_loss: Mean loss of the last tenth of the steps.
        run_id: Folder in ``runs/train``; None where the training kept none.
    """

    model: RegisteredModel
    steps: int
    final_loss: float
    run_id: str | None = None


def train(
    store: Store,
    data: Path | Sequence[Path],
    *,
    name: str,
    overrides: TrainOverrides,
    join: bool = False,
    watch: TrainingWatch | None = None,
) -> TrainSummary | None:
    """Train a universal network on cohorts' shared masks and register it.

    Structures that a case's site does not annotate give no gradient. The unseen site is refused:
    a cohort that holds it is no training set. A training of equal plan and data that did not come
    to its end is gone on with, and ends with the weights that an undisturbed one has.

    Args:
        store: The workspace.
        data: Cohort folders.
        name: Of the model and, when it joins, of the committee member.
        overrides: Preset, steps, seed, encoding and first weights.
        join: Append the member to the committee in ``atlasloop.toml``.
        watch: Who hears of it, and who validates.

    Returns:
        What it gave; None on the processes of ``torchrun`` that only compute.

    Raises:
        UsageError: A folder is no cohort, or preset, encoding or name is not usable.
        ModelError: The cases do not fit together, the loss is no longer finite or memory is full.
        ConflictError: Another process is at this training.
        StoppedError: Ctrl-C or SIGTERM; the state is kept.
    """
    folders = [data] if isinstance(data, Path) else list(data)
    plan = new_plan(store, folders, name=name, overrides=overrides)
    return train_plan(store, plan, join=join, watch=watch)


def resume(
    store: Store, run_id: str, *, join: bool = False, watch: TrainingWatch | None = None
) -> TrainSummary | None:
    """Go on with a training from its newest state; the plan is the one that it began with.

    Args:
        store: The workspace.
        run_id: Folder in ``runs/train``, or ``last``.
        join: As ``train``.
        watch: As ``train``.

    Raises:
        UsageError: There is no such run, or it has ended.
        ConflictError: The data are other ones now, or another process is at it.
        StoppedError: As ``train``; and what else it raises.
    """
    run = training_run(store.workspace, run_id)
    if run.is_finished:
        raise UsageError(f"a training that ended is not resumed, {run.run_id} did; begin a new one")
    plan = TrainingPlan.from_description(run.description)
    return train_plan(store, plan, join=join, resumed=run, watch=watch)


def train_plan(
    store: Store,
    plan: TrainingPlan,
    *,
    join: bool = False,
    resumed: TrainingRun | None = None,
    watch: TrainingWatch | None = None,
) -> TrainSummary | None:
    """Carry out a plan, from the newest state of its run where there is one; see ``train``."""
    member = _member(store, plan.name, plan.family, join=join)
    watch = watch or TrainingWatch()
    device = choose_device(store.settings.annotate.device)
    cases = training_cases(plan.data)
    with (
        joined_ranks(device, store.settings.train.backend) as ranks,
        stop_signals() as stop,
        _open_run(store, plan, cases, resumed, ranks) as run,
    ):
        names = learned_structures(cases)
        network = new_network(plan.settings, names, plan.encoding.vectors(names))
        loop = _loop(store, plan, network, run, ranks, watch if ranks.writes else TrainingWatch())
        trained = _train(loop, cases, stop)
        if not ranks.writes:
            return None
        fitted = _fitted(plan, trained, cases)
        summary = replace(register(store, plan.name, fitted), run_id=run.run_id)
        if join:
            join_committee(store.workspace, member)
        run.finish({"weights": summary.model.weights, "final_loss": fitted.final_loss})
    return summary


def train_committee(store: Store, data: Path, presets: Sequence[MemberPreset]) -> None:
    """Train several presets side by side, one process and one thread each, and join them.

    One thread a member beats all threads for one member after the other: small convolutions do not
    fill several cores, and threads wait for one another.

    Raises:
        UsageError: As ``train``.
        ModelError: As ``train``.
    """
    members = [_member(store, preset.name, preset.family, join=True) for preset in presets]
    device = str(choose_device(store.settings.annotate.device))
    plans = [
        new_plan(store, [data], name=preset.name, overrides=TrainOverrides(preset=preset.name))
        for preset in presets
    ]
    jobs = [TrainingJob(plan=plan, device=device, threads=1) for plan in plans]
    facts = {
        "models": [plan.name for plan in plans],
        "seeds": [plan.settings.seed for plan in plans],
    }
    with recorded_run(store, "train", facts):
        trained = side_by_side(fit, jobs, workers=len(jobs))
        for member, fitted in zip(members, trained, strict=True):
            register(store, member.name, fitted)
            join_committee(store.workspace, member)


def fit(job: TrainingJob, advance: Advance = silent) -> FittedModel:
    """Train one member without a run folder; may run in a process of its own.

    Raises:
        ModelError: The cases do not fit together, or the loss is no longer finite.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    settings = job.plan.settings
    cases = training_cases(job.plan.data)
    names = learned_structures(cases)
    trained = train_member(
        [_sample(case) for case in cases],
        settings,
        new_network(settings, names, job.plan.encoding.vectors(names)),
        device=torch.device(job.device),
        progress=lambda step, _: advance(step, settings.steps),
    )
    return _fitted(job.plan, trained, cases)


def register(store: Store, name: str, fitted: FittedModel) -> TrainSummary:
    """Store a fitted model under a name."""
    model = register_model(store, name, fitted.checkpoint, fitted.card)
    _LOG.info("%s trained, loss %.3f", name, fitted.final_loss)
    return TrainSummary(model, fitted.card["steps"], fitted.final_loss)


def training_cases(data: Path | Sequence[Path]) -> Sequence[CohortCase]:
    """Return cohorts' cases without those of the unseen site.

    Raises:
        UsageError: A folder is no cohort.
        ModelError: Nothing is left.
    """
    folders = [data] if isinstance(data, Path) else data
    unseen = {site.name for site in load_phantom_sites().sites if site.role == "unseen"}
    kept = [
        case for folder in folders for case in read_cohort(folder).cases if case.site not in unseen
    ]
    if not kept:
        names = ", ".join(str(folder) for folder in folders)
        raise ModelError(f"{names} holds no case to train on: its sites are never trained on")
    return kept


@contextmanager
def _open_run(
    store: Store,
    plan: TrainingPlan,
    cases: Sequence[CohortCase],
    resumed: TrainingRun | None,
    ranks: Ranks,
) -> Iterator[TrainingRun]:
    """Yield the run to train in, locked and recorded by the process that writes."""
    description = plan.description(cases, processes=ranks.size)
    if resumed is not None and resumed.description != description:
        raise ConflictError(_difference(resumed.description, description))
    with ExitStack() as stack:
        found = resumed
        if ranks.writes:
            found = found or unfinished_run(store.workspace, description)
            facts = {
                "preset": plan.preset,
                "model": plan.name,
                "seed": plan.settings.seed,
                **({"resumes": found.run_id} if found else {}),
            }
            run_id = stack.enter_context(recorded_run(store, "train", facts))
            found = found or begin_run(store.workspace, run_id, description)
            stack.enter_context(found.held())
        run_id = ranks.told(found.run_id if found else "")
        yield found or training_run(store.workspace, run_id)


def _loop(
    store: Store,
    plan: TrainingPlan,
    network: UniversalNetwork,
    run: TrainingRun,
    ranks: Ranks,
    watch: TrainingWatch,
) -> TrainingLoop:
    """Return the training where it stands: at its newest state, or at its first weights."""
    _warn_of_memory(plan, ranks, watch)
    if plan.init is not None and not run.checkpoints():
        for line in initialise(store, network, plan.init, family=plan.family).lines():
            watch.announce(f"first weights {line}")
    engine = TrainingEngine(network, plan.settings, device=ranks.device)
    loop = TrainingLoop(engine, run, store.settings.train, ranks, watch)
    if plan.init is not None and not run.checkpoints() and ranks.writes:
        # What the source names may be other weights tomorrow.
        loop.keep_state()
    loop.go_back_to_newest_state()
    if engine.step:
        watch.announce(f"run {run.run_id} goes on after step {engine.step}")
    else:
        watch.announce(f"run {run.run_id}, curves in {run.curves_png}")
    return loop


def _train(loop: TrainingLoop, cases: Sequence[CohortCase], stop: StopAsked) -> TrainedMember:
    engine = loop.engine
    if engine.step < engine.settings.steps:
        sampler = training_sampler(
            [_sample(case) for case in cases],
            engine.settings,
            engine.network.structures,
            device=engine.device,
        )
        loop.carry_on(sampler, stop)
    return trained_member(engine)


def _warn_of_memory(plan: TrainingPlan, ranks: Ranks, watch: TrainingWatch) -> None:
    free = free_bytes(ranks.device)
    if free is None or not ranks.writes or surely_fits(plan.settings, free):
        return
    wanted = MemoryEstimator(plan.settings).estimate(plan.settings).total_bytes
    if wanted > free:
        watch.announce(f"this may not fit into memory. {advice(plan.settings, free)}")


def _difference(before: JsonObject, now: JsonObject) -> str:
    if before["processes"] != now["processes"]:
        return (
            f"a training goes on with as many processes as it began with, {before['processes']}; "
            f"got {now['processes']}"
        )
    return (
        "a training goes on with the data that it began with; cases were added, removed or changed "
        "since; begin a new one"
    )


def _member(store: Store, name: str, family: str, *, join: bool) -> MemberSettings:
    """Return the committee entry, checked before the minutes of training."""
    try:
        member = MemberSettings(name=name, family=family, weights=name)
    except ValueError as error:
        raise UsageError(
            f"a model's name has lower-case letters, digits, '.', '_' and '-', got {name!r}"
        ) from error
    if join and name in {known.name for known in store.settings.committee}:
        raise UsageError(
            f"{name} is in the committee already; train without --join to give it new weights"
        )
    return member


def learned_structures(cases: Sequence[CohortCase]) -> tuple[str, ...]:
    """Return what a new network learns: all shipped structures, and added ones with labels."""
    annotated = {name for case in cases for name in case.annotated}
    return load_taxonomy().select([*shipped_taxonomy().names, *annotated])


def _sample(case: CohortCase) -> TrainingSample:
    hu, spacing_mm = case.read_hu()
    return TrainingSample(hu, spacing_mm, case.read_labels(), case_id=case.case)


def _fitted(plan: TrainingPlan, trained: TrainedMember, cases: Sequence[CohortCase]) -> FittedModel:
    card = _card(plan, trained, cases)
    checkpoint = save_checkpoint(trained.network, trained.inference, card)
    return FittedModel(checkpoint, card, _final_loss(trained))


def _card(plan: TrainingPlan, trained: TrainedMember, cases: Sequence[CohortCase]) -> JsonObject:
    settings = plan.settings
    sources = {
        name: sorted({case.site for case in cases if name in case.annotated})
        for name in trained.network.structures
    }
    return {
        **training_card(
            _datasets(cases, trained.network.structures),
            structures=trained.network.structures,
            configuration={"preset": plan.preset, **asdict(settings)},
            code=code_versions(),
        ),
        "family": plan.family,
        "backbone": settings.backbone,
        "head": settings.head,
        "encoding": plan.encoding.name,
        "parameters": sum(weight.numel() for weight in trained.network.parameters()),
        "spacing_mm": list(trained.inference.spacing_mm),
        "patch": list(trained.inference.patch),
        "steps": settings.steps,
        "seed": settings.seed,
        "final_loss": round(_final_loss(trained), 4),
        "torch": torch.__version__,
        "trained_on": "procedural phantoms; no clinical accuracy is claimed",
        "cases_by_site": dict(sorted(Counter(case.site for case in cases).items())),
        "sites_by_structure": sources,
        "single_source": [name for name, sites in sources.items() if len(sites) == 1],
    }


def _datasets(cases: Sequence[CohortCase], structures: Sequence[str]) -> list[DatasetUse]:
    """Return each site as a dataset; phantoms carry no licence."""
    by_site: dict[str, list[CohortCase]] = {}
    for case in cases:
        by_site.setdefault(case.site, []).append(case)
    return [
        DatasetUse(
            id=site,
            cases=len(group),
            patients=len({case.patient for case in group}),
            licence_flag="none",
            licence="procedural phantoms, made by AtlasLoop",
            annotated={name: sum(name in case.annotated for case in group) for name in structures},
        )
        for site, group in sorted(by_site.items())
    ]


def _final_loss(trained: TrainedMember) -> float:
    tail = trained.losses[-max(1, len(trained.losses) // 10) :]
    return sum(tail) / len(tail)
