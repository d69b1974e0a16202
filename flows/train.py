"""Train a universal network on folders of partially labeled cases and register its weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from configs.demo_members import MemberPreset
from configs.errors import ConflictError, UsageError
from configs.setting_sections import MemberSettings
from flows.devices import choose_device
from flows.initial_weights import inherited_terms, initialise
from flows.process_pool import side_by_side
from flows.progress import Advance, silent
from flows.ranks import Ranks, joined_ranks
from flows.runs import recorded_run
from flows.split import split
from flows.stop_signals import StopAsked, stop_signals
from flows.train_loop import TrainingLoop, TrainingWatch
from flows.training_card import FittedModel, fitted_model
from flows.training_cases import TrainingSources, annotated_structures, trainable_cases
from flows.training_data import TrainingData, training_data
from flows.training_plan import TrainingPlan, TrainOverrides, new_plan
from model.model_card import InheritedLicence
from model.training import (
    TrainedMember,
    new_network,
    prepared_sampler,
    train_prepared,
    trained_member,
)
from model.training_engine import TrainingEngine, free_bytes
from model.training_memory import MemoryEstimator, advice, surely_fits
from model.universal import UniversalNetwork
from storage.canonical_json import JsonObject
from storage.model_registry import RegisteredModel, register_model
from storage.sample_cache import SampleCache
from storage.store import Store
from storage.training_runs import TrainingRun, begin_run, training_run, unfinished_run
from storage.workspace import join_committee

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training of the committee, as plain values that a process of its own can take.

    Attributes:
        workspace: Its folder.
        threads: Threads to use; ``None`` leaves it to torch.
    """

    workspace: Path
    plan: TrainingPlan
    device: str
    threads: int | None = None


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
    data = prepared_data(store, plan, advance=watch.prepare)
    for failed in data.failed:
        watch.announce(f"{failed.name} is left out, {failed.reason}: {failed.message}")
    with (
        joined_ranks(device, store.settings.train.backend) as ranks,
        stop_signals() as stop,
        _open_run(store, plan, data, resumed, ranks) as run,
    ):
        network = _new_network(plan, data)
        loop = _loop(store, plan, network, run, ranks, watch if ranks.writes else TrainingWatch())
        trained = _train(loop, data, stop)
        if not ranks.writes:
            return None
        fitted = fitted_model(plan, trained, data, inherited=_inherited(store, plan))
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
    for plan in plans:
        # Once, before three processes would.
        prepared_data(store, plan)
    root = store.workspace.root
    jobs = [TrainingJob(workspace=root, plan=plan, device=device, threads=1) for plan in plans]
    facts = {
        "models": [plan.name for plan in plans],
        "seeds": [plan.settings.seed for plan in plans],
    }
    with recorded_run(store, "train", facts):
        trained = side_by_side(fit, jobs, workers=len(jobs))
        for member, fitted in zip(members, trained, strict=True):
            register(store, member.name, fitted)
            join_committee(store.workspace, member)


def prepared_data(store: Store, plan: TrainingPlan, *, advance: Advance = silent) -> TrainingData:
    """Return the plan's cases on its working grid, from the workspace's cache where they are there.

    Raises:
        UsageError: A folder is no cohort, or holds a scan of somebody who is set aside; or there
            is no label to train on.
        ModelError: No case can be read.
    """
    if plan.own_labels:
        # Who trains today must not judge tomorrow.
        split(store)
    sources = TrainingSources(
        store=store,
        labels=None if plan.own_labels else (),
        cohort_cases=trainable_cases(plan.data),
    )
    structures = annotated_structures(sources)
    if not structures:
        raise UsageError(
            "a training needs labels, and no patient of the role train has one; take a dataset in "
            "with `atlasloop intake --dataset`, review some cases, or name a cohort with --data"
        )
    cache = SampleCache(store.workspace.samples_path)
    cache.trim(round(store.settings.train.cache_gb * 1e9))
    return training_data(
        sources,
        structures,
        plan.settings.inference,
        cache=cache,
        workers=os.cpu_count() or 1,
        advance=advance,
    )


def fit(job: TrainingJob, advance: Advance = silent) -> FittedModel:
    """Train one member without a run folder; may run in a process of its own.

    Raises:
        ModelError: The cases do not fit together, or the loss is no longer finite.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    plan = job.plan
    data = prepared_data(Store.open(job.workspace), plan)
    trained = train_prepared(
        data.samples,
        plan.settings,
        _new_network(plan, data),
        device=torch.device(job.device),
        progress=lambda step, _: advance(step, plan.settings.steps),
    )
    return fitted_model(plan, trained, data)


def register(store: Store, name: str, fitted: FittedModel) -> TrainSummary:
    """Store a fitted model under a name."""
    model = register_model(store, name, fitted.checkpoint, fitted.card)
    _LOG.info("%s trained, loss %.3f", name, fitted.final_loss)
    return TrainSummary(model, fitted.card["steps"], fitted.final_loss)


@contextmanager
def _open_run(
    store: Store,
    plan: TrainingPlan,
    data: TrainingData,
    resumed: TrainingRun | None,
    ranks: Ranks,
) -> Iterator[TrainingRun]:
    """Yield the run to train in, locked and recorded by the process that writes."""
    description = plan.description(data, processes=ranks.size)
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


def _new_network(plan: TrainingPlan, data: TrainingData) -> UniversalNetwork:
    return new_network(plan.settings, data.structures, plan.encoding.vectors(data.structures))


def _inherited(store: Store, plan: TrainingPlan) -> tuple[InheritedLicence, ...]:
    return () if plan.init is None else inherited_terms(store, plan.init, family=plan.family)


def _train(loop: TrainingLoop, data: TrainingData, stop: StopAsked) -> TrainedMember:
    engine = loop.engine
    if engine.step < engine.settings.steps:
        sampler = prepared_sampler(data.samples, engine.settings, engine.network.structures)
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
