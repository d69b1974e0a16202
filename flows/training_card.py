"""A trained model before it is registered: its weights and what its card says of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from configs.connectors import load_datasets
from configs.phantom import load_phantom_sites
from flows.runs import code_versions
from flows.training_cases import TrainingCase
from flows.training_data import TrainingData
from flows.training_plan import TrainingPlan
from model.checkpoint import save_checkpoint
from model.model_card import DatasetUse, InheritedLicence, training_card
from model.training import TrainedMember
from storage.canonical_json import JsonObject

_LAST_SHARE = 10


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A trained model before it is registered.

    Attributes:
        final_loss: Mean loss of the last tenth of the steps.
    """

    checkpoint: bytes
    card: JsonObject
    final_loss: float


def fitted_model(
    plan: TrainingPlan,
    trained: TrainedMember,
    data: TrainingData,
    *,
    inherited: Sequence[InheritedLicence] = (),
) -> FittedModel:
    """Return a trained model with its card, which names the licences of its first weights too."""
    settings, network = plan.settings, trained.network
    loss = final_loss(trained)
    sources = {name: list(data.sources(name)) for name in network.structures}
    card = {
        **training_card(
            dataset_uses(data.cases),
            structures=network.structures,
            configuration={"preset": plan.preset, **asdict(settings)},
            code=code_versions(),
            weights=(*inherited, *dataset_terms(data.cases)),
        ),
        **_disclaimer(data.cases),
        "family": plan.family,
        "backbone": settings.backbone,
        "head": settings.head,
        "encoding": plan.encoding.name,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "spacing_mm": list(trained.inference.spacing_mm),
        "patch": list(trained.inference.patch),
        "steps": settings.steps,
        "seed": settings.seed,
        "final_loss": round(loss, 4),
        "torch": torch.__version__,
        "cases_by_site": data.cases_by_dataset,
        "sites_by_structure": sources,
        "single_source": [name for name, known in sources.items() if len(known) == 1],
    }
    return FittedModel(save_checkpoint(network, trained.inference, card), card, loss)


def dataset_uses(cases: Sequence[TrainingCase]) -> list[DatasetUse]:
    """Return what each dataset or site gave; those of unknown terms say so."""
    groups: dict[tuple[bool, str], list[TrainingCase]] = {}
    for case in cases:
        groups.setdefault((case.of_cohort, case.dataset), []).append(case)
    return [_use(name, group, of_cohort=of_cohort) for (of_cohort, name), group in groups.items()]


def dataset_terms(cases: Sequence[TrainingCase]) -> list[InheritedLicence]:
    """Return the licences of all datasets that CTs or labels come from."""
    known = load_datasets()
    names = sorted({name for case in cases for name in case.datasets})
    return [
        InheritedLicence(name, known[name].license.flag, known[name].license.name)
        for name in names
        if name in known
    ]


def final_loss(trained: TrainedMember) -> float:
    """Return the mean loss of the last tenth of the steps."""
    tail = trained.losses[-max(1, len(trained.losses) // _LAST_SHARE) :]
    return sum(tail) / len(tail)


def _disclaimer(cases: Sequence[TrainingCase]) -> JsonObject:
    """Return what must be said first of a model that has seen no patient."""
    phantoms = {site.name for site in load_phantom_sites().sites}
    if all(case.of_cohort and case.dataset in phantoms for case in cases):
        return {"trained_on": "procedural phantoms; no clinical accuracy is claimed"}
    return {}


def _use(name: str, cases: Sequence[TrainingCase], *, of_cohort: bool) -> DatasetUse:
    known = None if of_cohort else load_datasets().get(name)
    names = {structure for case in cases for structure in case.annotated}
    return DatasetUse(
        id=name,
        cases=len(cases),
        patients=len({case.patient for case in cases}),
        licence_flag="none" if known is None else known.license.flag,
        licence=_terms(of_cohort=of_cohort) if known is None else known.license.name,
        annotated={
            structure: sum(structure in case.annotated for case in cases)
            for structure in sorted(names)
        },
    )


def _terms(*, of_cohort: bool) -> str:
    return "a cohort folder, as made by `atlasloop phantom`" if of_cohort else "the workspace's own"
