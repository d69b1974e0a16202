"""What judges a network while it is trained: patients who are set aside, or a cohort folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from configs.errors import CaseError, ModelError, UsageError
from flows.devices import choose_device
from flows.train_loop import Validate
from flows.validation_cases import CaseSource, cohort_cases, workspace_cases
from model.training import TrainedMember
from model.validation import validate_network
from model.validation_case import QUICK, ValidationCase
from storage.splits import Role
from storage.store import Store

_LOG = logging.getLogger(__name__)
_ROLES: tuple[Role, ...] = ("gate", "report")


def training_validation(store: Store, where: str | None) -> Validate | None:
    """Return what gives DSC by structure, on cases that are read anew each time.

    Args:
        store: The workspace.
        where: ``gate`` or ``report`` for patients of the frozen split with reference labels, or a
            cohort folder, whose scans of patients that train here are left out; None takes the
            gate's patients where there are any.

    Returns:
        None where nothing was asked for and there is no case.

    Raises:
        UsageError: What was asked for is no role, no cohort or holds no case.
    """
    sources = _sources(store, where)
    if not sources:
        if where is None:
            return None
        raise UsageError(
            f"validation needs cases with labels that did not train, {where} has none; give "
            "another cohort folder, or labels to patients of that role"
        )
    device = choose_device(store.settings.annotate.device)

    def validate(trained: TrainedMember, step: int) -> Mapping[str, float]:
        try:
            summary = validate_network(
                trained.network,
                trained.inference,
                _read(sources),
                structures=trained.network.structures,
                device=device,
                options=QUICK,
            )
        except ModelError as error:
            # A training of days must not end because its judges have gone.
            _LOG.warning("no validation after step %d: %s", step, error)
            return {}
        return summary.dsc()

    return validate


def _sources(store: Store, where: str | None) -> Sequence[CaseSource]:
    if where is None:
        return workspace_cases(store, "gate").sources
    for role in _ROLES:
        if where == role:
            return workspace_cases(store, role).sources
    folder = Path(where)
    if not folder.is_dir():
        raise UsageError(f"validation is on gate, report or a cohort folder, got {where!r}")
    return cohort_cases(store, folder).sources


def _read(sources: Sequence[CaseSource]) -> Iterator[ValidationCase]:
    for source in sources:
        try:
            yield source.read()
        except CaseError as error:
            _LOG.warning("%s is not validated on: %s", source.case_id, error.reason)
