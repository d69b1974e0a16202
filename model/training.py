"""Train a universal network on partially labeled cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from configs.errors import ModelError
from model.batch_stream import stream
from model.encoding import TextVectors
from model.inference_settings import InferenceSettings
from model.training_engine import Divergence, NonFiniteStepError, StepRecord, TrainingEngine
from model.training_patches import PatchSampler, patch_sampler
from model.training_samples import PreparedSample, TrainingSample, prepare_samples
from model.training_settings import TrainingSettings
from model.universal import UniversalNetwork, build_network


@dataclass(frozen=True, slots=True)
class TrainedMember:
    """What training returns.

    Attributes:
        network: In evaluation mode.
        inference: How it must be shown a volume.
        losses: Loss of every step.
    """

    network: UniversalNetwork
    inference: InferenceSettings
    losses: tuple[float, ...]


class DivergedError(ModelError):
    """The loss or its gradient stopped being finite.

    Attributes:
        step: Step, from 1, that could not be taken.
        where: Cases, structures and weights.
        member: The state before it.
    """

    def __init__(self, where: Divergence, member: TrainedMember) -> None:
        details = [
            f"{what} {', '.join(names)}"
            for what, names in (
                ("cases", where.case_ids),
                ("structures", where.structures),
                ("gradient of", where.parameters),
            )
            if any(names)
        ]
        super().__init__(
            f"the loss must stay finite, it did not at step {where.step} "
            f"({'; '.join(details) or 'no case named'}); the weights before that step are kept; "
            "lower the learning rate or train in float32"
        )
        self.step = where.step
        self.where = where
        self.member = member


def train_member(
    samples: Sequence[TrainingSample],
    settings: TrainingSettings,
    network: UniversalNetwork,
    *,
    device: torch.device,
    progress: Callable[[int, float], None] | None = None,
    complete: bool = True,
) -> TrainedMember:
    """Train a universal network, in place; equal arguments give equal weights on one machine.

    A structure that a case does not annotate is not even computed for it: its logits get a gradient
    of exactly zero.

    Args:
        samples: Partially labeled cases.
        settings: How to train; what describes the network was used to make it.
        network: A new one, or one to go on with.
        device: Where to compute.
        progress: Called after each step with its number, from 1, and its loss.
        complete: Whether each of the network's structures must be annotated in some case, as a new
            network needs.

    Raises:
        DivergedError: A loss or gradient is not finite; it carries the last good state.
        ModelError: The cases do not fit together, or memory is full.
    """
    sampler = training_sampler(
        samples, settings, network.structures, device=device, complete=complete
    )
    return _trained(network, settings, sampler, device=device, progress=progress)


def train_prepared(
    samples: Sequence[PreparedSample],
    settings: TrainingSettings,
    network: UniversalNetwork,
    *,
    device: torch.device,
    progress: Callable[[int, float], None] | None = None,
) -> TrainedMember:
    """Train as ``train_member`` on cases that are on the working grid already."""
    sampler = prepared_sampler(samples, settings, network.structures)
    return _trained(network, settings, sampler, device=device, progress=progress)


def _trained(
    network: UniversalNetwork,
    settings: TrainingSettings,
    sampler: PatchSampler,
    *,
    device: torch.device,
    progress: Callable[[int, float], None] | None,
) -> TrainedMember:
    engine = TrainingEngine(network, settings, device=device)
    for record in take_steps(engine, sampler):
        if progress is not None:
            progress(record.step, record.loss)
    return trained_member(engine)


def training_sampler(
    samples: Sequence[TrainingSample],
    settings: TrainingSettings,
    structures: Sequence[str],
    *,
    device: torch.device,
    complete: bool = True,
) -> PatchSampler:
    """Prepare the cases and return what draws patches from them; arguments as ``train_member``.

    Raises:
        ModelError: The cases do not fit together.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    prepared = prepare_samples(
        _limited(samples, settings.case_limit, generator),
        structures,
        settings.inference,
        generator=generator,
        device=device,
        complete=complete,
    )
    return prepared_sampler(prepared, settings, structures)


def prepared_sampler(
    samples: Sequence[PreparedSample], settings: TrainingSettings, structures: Sequence[str]
) -> PatchSampler:
    """Return what draws patches from cases that are on the working grid already."""
    return patch_sampler(
        samples,
        structures,
        patch=settings.inference.patch,
        background_share=settings.background_share,
        augmentation=settings.augmentation,
        sampling=settings.sampling,
    )


def take_steps(
    engine: TrainingEngine, sampler: PatchSampler, *, rank: int = 0, workers: int = 0
) -> Iterator[StepRecord]:
    """Take the steps that are left, yielding after each; stopping in between loses nothing.

    The batches of a step depend on seed, step and rank alone, so that a training that is resumed
    sees what an undisturbed one does.

    Args:
        engine: New, or brought to where an earlier training was.
        sampler: Where the patches come from.
        rank: Of this process among those that train together.
        workers: Processes that draw patches ahead.

    Raises:
        DivergedError: A loss or gradient is not finite; it carries the last good state.
        TrainingMemoryError: Memory is full.
    """
    settings = engine.settings
    times = settings.accumulation
    batches = stream(
        sampler,
        first_step=engine.step * times + 1,
        last_step=settings.steps * times,
        batch_size=settings.batch_size,
        seed=settings.seed,
        rank=rank,
        workers=workers,
    )
    while engine.step < settings.steps:
        try:
            record = engine.take([next(batches).to(engine.device) for _ in range(times)])
        except NonFiniteStepError as error:
            raise DivergedError(error.divergence, trained_member(engine)) from error
        yield record


def trained_member(engine: TrainingEngine) -> TrainedMember:
    """Return what an engine has come to; the engine itself may go on."""
    return TrainedMember(engine.present_network(), engine.settings.inference, tuple(engine.losses))


def new_network(
    settings: TrainingSettings, structures: Sequence[str], text: TextVectors | None = None
) -> UniversalNetwork:
    """Return an untrained network; equal seeds give equal weights.

    Args:
        settings: Backbone, head, encoding, prior and seed.
        structures: What to learn, in the order of the network's channels.
        text: Vectors of a text encoding, one a structure.

    Raises:
        ModelError: The network cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build_network(
            settings.backbone,
            settings.backbone_options,
            encoding=settings.encoding,
            structures=structures,
            text=text,
            head=settings.head,
        )
    network.head.set_prior_in_place(settings.prior_logit)
    return network


def _limited(
    samples: Sequence[TrainingSample], limit: int | None, generator: torch.Generator
) -> list[TrainingSample]:
    if limit is None or limit >= len(samples):
        return list(samples)
    chosen = torch.randperm(len(samples), generator=generator)[:limit]
    return [samples[number] for number in sorted(chosen.tolist())]
