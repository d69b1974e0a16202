"""Go on training a member from its weights, on labels that people looked at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch

from configs.errors import ModelError
from flows.annotate import existing_file
from flows.limits import volume_limits
from flows.process_pool import side_by_side
from flows.runs import code_versions
from flows.train import FittedModel, training_cases
from model.checkpoint import load_checkpoint, save_checkpoint
from model.model_card import DatasetUse, retrained_card
from model.training import TrainingSettings, train_member
from model.training_samples import TrainingSample
from storage.cases import CaseRow, all_cases
from storage.label_masks import read_label
from storage.labels import LabelMask
from storage.store import Store
from storage.volume import Volume


@dataclass(frozen=True, slots=True)
class TrainingLabel:
    """What is known of one structure of one case; absent where the mask has no object."""

    case_id: str
    structure: str
    mask: LabelMask


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
    samples = training_samples(job)
    network = loaded.network
    trained = train_member(
        samples, settings, network, device=torch.device(job.device), complete=False
    )
    tail = trained.losses[-max(1, len(trained.losses) // 10) :]
    final_loss = sum(tail) / len(tail)
    card = {
        **loaded.facts,
        **retrained_card(loaded.facts, _dataset(job.labels)),
        "code": code_versions(),
        "retrained_steps": int(loaded.facts.get("retrained_steps", 0)) + job.steps,
        "retrained_on_labels": len(job.labels),
        "retrained_on_cases": len({label.case_id for label in job.labels}),
        "final_loss": round(final_loss, 4),
        "torch": torch.__version__,
    }
    return FittedModel(save_checkpoint(network, trained.inference, card), card, final_loss)


def _dataset(labels: Sequence[TrainingLabel]) -> DatasetUse:
    """Return the workspace's labels as a dataset; whose CTs these are, the job does not know."""
    cases = {label.case_id for label in labels}
    return DatasetUse(
        id="this workspace",
        cases=len(cases),
        patients=None,
        licence_flag="none",
        licence="the workspace's own labels; see there for imported datasets",
        annotated=dict(Counter(label.structure for label in labels)),
    )


def training_samples(job: FineTuneJob) -> list[TrainingSample]:
    """Return the cases of a job with their weights.

    Raises:
        ModelError: There is none.
    """
    store = Store.open(job.workspace)
    with store.read() as connection:
        cases = {case.case_id: case for case in all_cases(connection)}
    ids = {label.case_id for label in job.labels}
    cohort_cases = [case for folder in job.cohorts for case in training_cases(folder)]
    if not ids and not cohort_cases:
        raise ModelError("training needs at least one label or one cohort folder, got neither")
    own, other = _weights(len(ids), len(cohort_cases), job.correction_share)
    samples = [
        _sample(store, cases[case_id], {label.structure: label.mask for label in labels}, own)
        for case_id, labels in _by_case(job.labels)
    ]
    for case in cohort_cases:
        hu, spacing_mm = case.read_hu()
        samples.append(TrainingSample(hu, spacing_mm, case.read_labels(), other))
    return samples


def _by_case(labels: Sequence[TrainingLabel]) -> Iterator[tuple[str, list[TrainingLabel]]]:
    ordered = sorted(labels, key=lambda label: (label.case_id, label.structure))
    for case_id, group in groupby(ordered, key=lambda label: label.case_id):
        yield case_id, list(group)


def _weights(corrected: int, others: int, share: float) -> tuple[float, float]:
    """Return the weight of a corrected and of another case, so that the first make up a share."""
    if corrected == 0 or others == 0:
        return 1.0, 1.0
    return share / corrected, max(1.0 - share, 1e-6) / others


def _sample(
    store: Store, case: CaseRow, labels: Mapping[str, LabelMask], weight: float
) -> TrainingSample:
    file = existing_file(case)
    volume = Volume.open(file.path, limits=volume_limits(store.settings.intake))
    hu = volume.read_ras(expected_sha256=file.sha256)
    masks = {
        structure: read_label(store.objects, mask, volume.grid.ras_shape)
        for structure, mask in labels.items()
    }
    return TrainingSample(hu, volume.grid.ras_spacing_mm, masks, weight)
