"""Measure a registered model on labeled cases, and keep figures and temperatures in its card."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import torch

from configs.errors import CaseError, Reason, SomeCasesFailedError, UsageError
from flows.devices import choose_device
from flows.member_networks import network_options
from flows.progress import Advance, silent
from flows.runs import recorded_run
from flows.validation_cases import CaseSource, CaseSources, cohort_cases, workspace_cases
from model.case_reading import CaseReading, read_case
from model.checkpoint import load_checkpoint
from model.committee import CommitteeMember
from model.model_card import temperature_section, validation_section
from model.validation import ValidationSummary, summarise, validated_member
from model.validation_case import ValidationOptions
from storage.model_registry import RegisteredModel, amend_card, registered_model
from storage.splits import Role
from storage.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateOptions:
    """What is validated on what.

    Attributes:
        model: Name of a registered model.
        role: Patients of the workspace; None for none where cohorts are given, else ``report``.
        cohorts: Cohort folders.
        truth: Of cohorts, the hidden masks of all structures.
        reviews: Of the workspace, the labels made from the AI's masks, and no others.
        keep: Write figures and temperatures into the model's card.
        surface: Measure surface Dice.
        size_limits: Leave out lesion candidates that are too small to count.
        seed: Of intervals and folds.
    """

    model: str
    role: Role | None = None
    cohorts: tuple[Path, ...] = ()
    truth: bool = False
    reviews: bool = False
    keep: bool = False
    surface: bool = True
    size_limits: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class UnreadCase:
    """A case that could not be validated on."""

    case_id: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """A model's figures with where they come from.

    Attributes:
        data: What it was validated on, in words.
        about: What the references are, in a sentence.
        labels: How references were made -> how many.
        left_out: Cases that may have trained it.
        kept: What went into the card: ``validations``, ``temperatures``.
    """

    model: str
    weights: str
    data: str
    about: str
    summary: ValidationSummary
    labels: Mapping[str, int]
    left_out: tuple[str, ...]
    failed: tuple[UnreadCase, ...]
    kept: tuple[str, ...] = ()

    def raise_for_failures(self) -> None:
        """Raise SomeCasesFailedError when a case failed, listing ids and reasons."""
        if self.failed:
            _raise_for_failures(self.failed)


def validate(store: Store, options: ValidateOptions, *, advance: Advance = silent) -> Validation:
    """Run a model over labeled cases; nothing but the card is stored, and that only when asked.

    Temperatures are not kept from patients of the role ``report``: what is fitted on them could not
    be reported on them.

    Args:
        store: The workspace.
        options: See there.
        advance: Told the cases that are done.

    Raises:
        UsageError: The model is unknown, a folder is no cohort, or there is nothing to validate on.
        ConflictError: The model was replaced meanwhile; its card is left alone.
        SomeCasesFailedError: Not one case could be read.
    """
    options = _with_default_role(options)
    model = registered_model(store, options.model)
    found = _sources(store, options)
    facts = {"model": model.name, "weights": model.weights, "data": _data(options)}
    with recorded_run(store, "validate", facts):
        validation = _validation(store, model, found, options, advance)
        for case in validation.failed:
            _LOG.warning("case %s left out: %s", case.case_id, case.reason)
        return _kept(store, model, validation, options) if options.keep else validation


def load_validated(store: Store, model: RegisteredModel, device: torch.device) -> CommitteeMember:
    """Load a registered model onto a device.

    Raises:
        ModelError: The checkpoint is damaged or of another kind.
    """
    loaded = load_checkpoint(store.objects.path(model.weights))
    inference = loaded.inference
    overlap = store.settings.annotate.overlap
    if overlap is not None:
        inference = replace(inference, overlap=overlap)
    network = loaded.network.to(device).eval()
    return validated_member(network, inference, loaded.network.structures)


def _validation(
    store: Store,
    model: RegisteredModel,
    found: CaseSources,
    options: ValidateOptions,
    advance: Advance,
) -> Validation:
    settings = store.settings.annotate
    device = choose_device(settings.device)
    measured = ValidationOptions(
        surface=options.surface,
        size_limits=options.size_limits,
        network=network_options(settings, device),
        seed=options.seed,
    )
    member = load_validated(store, model, device)
    read: list[CaseReading | UnreadCase] = []
    for number, source in enumerate(found.sources, start=1):
        read.append(_read(member, source, device, measured))
        advance(number, len(found.sources))
    failed = tuple(one for one in read if isinstance(one, UnreadCase))
    if len(failed) == len(read):
        _raise_for_failures(failed)
    return Validation(
        model=model.name,
        weights=model.weights,
        data=_data(options),
        about=_about(options, found.labels),
        summary=summarise([one for one in read if isinstance(one, CaseReading)], options=measured),
        labels=found.labels,
        left_out=found.left_out,
        failed=failed,
    )


def _read(
    member: CommitteeMember, source: CaseSource, device: torch.device, options: ValidationOptions
) -> CaseReading | UnreadCase:
    try:
        return read_case(member, source.read(), device=device, options=options)
    except CaseError as error:
        return UnreadCase(source.case_id, error.reason)


def _raise_for_failures(failed: Sequence[UnreadCase]) -> NoReturn:
    listed = ", ".join(f"{case.case_id} ({case.reason})" for case in failed)
    raise SomeCasesFailedError(f"{len(failed)} cases failed: {listed}")


def _kept(
    store: Store, model: RegisteredModel, validation: Validation, options: ValidateOptions
) -> Validation:
    summary = validation.summary
    known = model.card.get("validations")
    known = known if isinstance(known, dict) else {}
    section = validation_section(summary, about=validation.about)
    changes = {"validations": {**known, validation.data: section}}
    if options.role != "report":
        changes["temperatures"] = temperature_section(
            summary.calibration, fitted_on=validation.data
        )
    amend_card(store, model, changes)
    return replace(validation, kept=tuple(changes))


def _with_default_role(options: ValidateOptions) -> ValidateOptions:
    if options.role is None and not options.cohorts:
        return replace(options, role="report")
    return options


def _sources(store: Store, options: ValidateOptions) -> CaseSources:
    parts = [cohort_cases(store, folder, truth=options.truth) for folder in options.cohorts]
    if options.role is not None:
        parts.append(workspace_cases(store, options.role, reviews=options.reviews))
    labels: Counter[str] = Counter()
    for part in parts:
        labels.update(part.labels)
    found = CaseSources(
        tuple(source for part in parts for source in part.sources),
        tuple(case for part in parts for case in part.left_out),
        dict(labels),
    )
    if not found.sources:
        raise UsageError(_nothing(options, found.left_out))
    return found


def _nothing(options: ValidateOptions, left_out: Sequence[str]) -> str:
    if left_out:
        return (
            f"what trains a model must never judge it: all {len(left_out)} cases of "
            f"{_data(options)} are of patients who train; name other cases with --data"
        )
    return (
        f"validation needs reference labels, {_data(options)} has none; import a dataset's labels, "
        "assign readings without the AI's mask, choose another --role, or name a cohort with --data"
    )


def _data(options: ValidateOptions) -> str:
    parts = [f"cohort {folder.name}" for folder in options.cohorts]
    if options.role is not None:
        parts.append(f"patients of the role {options.role}")
    return " and ".join(parts) + (" (reviews)" if options.reviews else "")


def _about(options: ValidateOptions, labels: Mapping[str, int]) -> str:
    if options.reviews:
        return "References are reviews of the AI's masks, which lean toward it: no accuracy."
    kinds = {
        "cohort": "masks of a cohort folder (on phantoms: no clinical accuracy)",
        "dataset": "imported dataset labels",
        "independent": "readings made without the AI's mask",
    }
    return f"References are {', '.join(kinds[kind] for kind in sorted(labels))}."
