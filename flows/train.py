"""Train one committee member on a folder of partially labeled cases and register its weights."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from configs.demo_members import MemberPreset, load_demo_members
from configs.errors import ModelError, UsageError
from configs.phantom import load_phantom_sites
from configs.settings import MemberSettings
from configs.taxonomy import load_taxonomy
from flows.devices import choose_device, uses_bfloat16
from flows.process_pool import side_by_side
from flows.progress import Advance, silent
from flows.runs import recorded_run
from model.checkpoint import save_checkpoint
from model.inference_settings import InferenceSettings
from model.training import TrainedMember, TrainingSettings, new_network, train_member
from model.training_samples import TrainingSample
from storage.canonical_json import JsonObject
from storage.cohort import CohortCase, read_cohort
from storage.model_registry import RegisteredModel, register_model
from storage.store import Store
from storage.workspace import join_committee

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOverrides:
    """What the caller wants otherwise than the preset says; ``None`` keeps the preset's."""

    preset: str | None = None
    steps: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training, as plain values that a process of its own can take.

    Attributes:
        threads: Threads to use; ``None`` leaves it to torch.
    """

    data: Path
    preset: str
    steps: int
    seed: int
    device: str
    bfloat16: bool
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
    """

    model: RegisteredModel
    steps: int
    final_loss: float


def train(
    store: Store,
    data: Path,
    *,
    name: str,
    overrides: TrainOverrides,
    join: bool = False,
    advance: Advance = silent,
) -> TrainSummary:
    """Train a small universal network on a cohort's shared masks and register it.

    Structures that a case's site does not annotate give no gradient. The unseen site is refused:
    a cohort that holds it is no training set.

    Args:
        store: The workspace.
        data: A cohort folder.
        name: Of the model and, when it joins, of the committee member.
        overrides: Preset, steps and seed.
        join: Append the member to the committee in ``atlasloop.toml``.
        advance: Told the steps that are done.

    Raises:
        UsageError: The folder is no cohort, or the preset or name is not usable.
        ModelError: The cases do not fit together, or the loss is no longer finite.
    """
    preset = load_demo_members().find(overrides.preset)
    member = _member(store, name, preset, join=join)
    job = training_job(store, data, preset, overrides)
    training_cases(data)
    with recorded_run(store, "train", {"preset": preset.name, "model": name, "seed": job.seed}):
        fitted = fit(job, advance)
        summary = register(store, name, fitted)
        if join:
            join_committee(store.workspace, member)
    return summary


def train_committee(store: Store, data: Path, presets: Sequence[MemberPreset]) -> None:
    """Train several presets side by side, one process and one thread each, and join them.

    One thread a member beats all threads for one member after the other: small convolutions do not
    fill several cores, and threads wait for one another.

    Raises:
        UsageError: As ``train``.
        ModelError: As ``train``.
    """
    members = [_member(store, preset.name, preset, join=True) for preset in presets]
    jobs = [
        replace(training_job(store, data, preset, TrainOverrides()), threads=1)
        for preset in presets
    ]
    names = [preset.name for preset in presets]
    with recorded_run(store, "train", {"models": names, "seeds": [job.seed for job in jobs]}):
        trained = side_by_side(fit, jobs, workers=len(jobs))
        for member, fitted in zip(members, trained, strict=True):
            register(store, member.name, fitted)
            join_committee(store.workspace, member)


def training_job(
    store: Store, data: Path, preset: MemberPreset, overrides: TrainOverrides
) -> TrainingJob:
    """Return what is to be trained, with the settings' device and precision."""
    device = choose_device(store.settings.annotate.device)
    bfloat16 = uses_bfloat16(store.settings.annotate.autocast, device)
    return TrainingJob(
        data=data,
        preset=preset.name,
        steps=overrides.steps or preset.steps,
        seed=preset.seed if overrides.seed is None else overrides.seed,
        device=str(device),
        bfloat16=bfloat16,
    )


def fit(job: TrainingJob, advance: Advance = silent) -> FittedModel:
    """Train one member; may run in a process of its own.

    Raises:
        ModelError: The cases do not fit together, or the loss is no longer finite.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    preset = load_demo_members().find(job.preset)
    settings = replace(
        _training_settings(preset),
        steps=job.steps,
        seed=job.seed,
        autocast="bfloat16" if job.bfloat16 else None,
    )
    cases = training_cases(job.data)
    trained = train_member(
        [_sample(case) for case in cases],
        settings,
        new_network(settings, load_taxonomy().names),
        device=torch.device(job.device),
        progress=lambda step, _: advance(step, settings.steps),
    )
    card = _card(preset, settings, trained, cases)
    checkpoint = save_checkpoint(trained.network, trained.inference, card)
    return FittedModel(checkpoint, card, _final_loss(trained))


def register(store: Store, name: str, fitted: FittedModel) -> TrainSummary:
    """Store a fitted model under a name."""
    model = register_model(store, name, fitted.checkpoint, fitted.card)
    _LOG.info("%s trained, loss %.3f", name, fitted.final_loss)
    return TrainSummary(model, fitted.card["steps"], fitted.final_loss)


def _member(store: Store, name: str, preset: MemberPreset, *, join: bool) -> MemberSettings:
    """Return the committee entry, checked before the minutes of training."""
    try:
        member = MemberSettings(name=name, family=preset.family, weights=name)
    except ValueError as error:
        raise UsageError(
            f"a model's name has lower-case letters, digits, '.', '_' and '-', got {name!r}"
        ) from error
    if join and name in {known.name for known in store.settings.committee}:
        raise UsageError(
            f"{name} is in the committee already; train without --join to give it new weights"
        )
    return member


def _training_settings(preset: MemberPreset) -> TrainingSettings:
    return TrainingSettings(
        backbone=preset.backbone,
        backbone_options=preset.backbone_options.model_dump(),
        head=preset.head,
        encoding=preset.encoding,
        inference=InferenceSettings(
            spacing_mm=preset.spacing_mm,
            hu_window=preset.hu_window,
            patch=preset.patch,
            overlap=preset.overlap,
        ),
        batch_size=preset.batch_size,
        steps=preset.steps,
        learning_rate=preset.learning_rate,
        seed=preset.seed,
    )


def training_cases(data: Path) -> Sequence[CohortCase]:
    """Return a cohort's cases without those of the unseen site.

    Raises:
        UsageError: The folder is no cohort.
        ModelError: Nothing is left.
    """
    cases = read_cohort(data).cases
    unseen = {site.name for site in load_phantom_sites().sites if site.role == "unseen"}
    kept = [case for case in cases if case.site not in unseen]
    if not kept:
        raise ModelError(f"{data} holds no case to train on: its sites are never trained on")
    return kept


def _sample(case: CohortCase) -> TrainingSample:
    hu, spacing_mm = case.read_hu()
    return TrainingSample(hu, spacing_mm, case.read_labels())


def _card(
    preset: MemberPreset,
    settings: TrainingSettings,
    trained: TrainedMember,
    cases: Sequence[CohortCase],
) -> JsonObject:
    sources = {
        name: sorted({case.site for case in cases if name in case.annotated})
        for name in trained.network.structures
    }
    return {
        "family": preset.family,
        "backbone": settings.backbone,
        "head": settings.head,
        "encoding": settings.encoding,
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


def _final_loss(trained: TrainedMember) -> float:
    tail = trained.losses[-max(1, len(trained.losses) // 10) :]
    return sum(tail) / len(tail)
