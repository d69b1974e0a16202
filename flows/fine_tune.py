"""Go on training a member from its weights, on labels that people looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from configs.errors import CaseError
from flows.process_pool import side_by_side
from flows.runs import code_versions
from flows.training_card import FittedModel, dataset_terms, dataset_uses, final_loss
from flows.training_cases import TrainingLabel, TrainingSources, trainable_cases
from flows.training_data import TrainingData, training_data
from model.checkpoint import load_checkpoint, save_checkpoint
from model.inference_settings import InferenceSettings
from model.model_card import inherited_licences, licences, retrained_card
from model.training import train_prepared
from model.training_samples import PreparedSample
from model.training_settings import TrainingSettings
from storage.canonical_json import JsonObject
from storage.sample_cache import SampleCache
from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneJob:
    """One member's training, as plain values that a process of its own can take.

    Attributes:
        workspace: Its folder.
        checkpoint: Weights to start from.
        labels: What people said, sorted by case.
        cohorts: Folders of partially labeled cases to train on beside them.
        correction_share: Share of the patches that comes from ``labels``, but for the preference
            that cases with rare structures, lesions and thin ones get.
        threads: Threads to use; None leaves it to torch.
    """

    workspace: Path
    checkpoint: Path
    labels: tuple[TrainingLabel, ...]
    cohorts: tuple[Path, ...]
    steps: int
    learning_rate: float
    correction_share: float
    seed: int
    device: str
    bfloat16: bool
    threads: int | None = None


def fine_tune_all(jobs: Sequence[FineTuneJob]) -> list[FittedModel]:
    """Run several jobs, as many side by side as there are cores; results in the jobs' order.

    Raises:
        ModelError: A checkpoint or a case does not fit, or a loss is no longer finite.
    """
    if len(jobs) == 1:
        return [fine_tune(jobs[0])]
    cores = os.cpu_count() or 1
    workers = min(len(jobs), cores)
    shared = [replace(job, threads=max(1, cores // workers)) for job in jobs]
    return side_by_side(fine_tune, shared, workers=workers)


def fine_tune(job: FineTuneJob) -> FittedModel:
    """Train one member on from its checkpoint.

    The encoding, the head and every weight start where the champion stands; the balance of the loss
    stays where a first training ends, since small structures were found already.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    loaded = load_checkpoint(job.checkpoint)
    settings = TrainingSettings(
        backbone=loaded.network.backbone.name,
        backbone_options=loaded.network.backbone.options,
        head=loaded.network.head.kind,
        encoding=loaded.network.encoding.kind,
        inference=loaded.inference,
        batch_size=1,
        steps=job.steps,
        learning_rate=job.learning_rate,
        balance=(0.8, 0.8),
        autocast="bfloat16" if job.bfloat16 else None,
        seed=job.seed,
    )
    network = loaded.network
    data = job_data(job, network.structures, loaded.inference)
    samples = weighted_samples(data, job.correction_share)
    trained = train_prepared(samples, settings, network, device=torch.device(job.device))
    loss = final_loss(trained)
    card = {
        **_retrained(dict(loaded.facts), data),
        "code": code_versions(),
        "retrained_steps": int(loaded.facts.get("retrained_steps", 0)) + job.steps,
        "retrained_on_labels": len(job.labels),
        "retrained_on_cases": len({label.case_id for label in job.labels}),
        "final_loss": round(loss, 4),
        "torch": torch.__version__,
    }
    return FittedModel(save_checkpoint(network, trained.inference, card), card, loss)


def job_data(
    job: FineTuneJob, structures: Sequence[str], inference: InferenceSettings
) -> TrainingData:
    """Return the cases of a job, prepared once for all jobs of a workspace.

    Raises:
        ModelError: There is none.
        CaseError: A CT that people judged is gone or was changed; without it, it would be another
            training than the journal says.
    """
    store = Store.open(job.workspace)
    sources = TrainingSources(
        store=store, labels=job.labels, cohort_cases=trainable_cases(job.cohorts)
    )
    cache = SampleCache(store.workspace.samples_path)
    data = training_data(sources, structures, inference, cache=cache)
    for failed in data.failed:
        raise CaseError(failed.reason, f"{failed.name} cannot be trained on: {failed.message}")
    return data


def weighted_samples(data: TrainingData, correction_share: float) -> list[PreparedSample]:
    """Return the samples with weights that give judged cases their share of the patches."""
    others = sum(case.of_cohort for case in data.cases)
    own, other = _weights(len(data.cases) - others, others, correction_share)
    # All as one dataset, whose cases are drawn by their weights alone.
    return [
        replace(sample, dataset="", weight=other if case.of_cohort else own)
        for sample, case in zip(data.samples, data.cases, strict=True)
    ]


def _retrained(card: JsonObject, data: TrainingData) -> JsonObject:
    """Return the sections of a card that say what was trained on, with this on top."""
    for use in dataset_uses(data.cases):
        card = {**card, **retrained_card(card, use)}
    bound = [*inherited_licences(card), *dataset_terms(data.cases)]
    return {**card, "licences": licences(bound)} if bound else card


def _weights(corrected: int, others: int, share: float) -> tuple[float, float]:
    """Return the weight of a corrected and of another case, so that the first make up a share."""
    if corrected == 0 or others == 0:
        return 1.0, 1.0
    return share / corrected, max(1.0 - share, 1e-6) / others
