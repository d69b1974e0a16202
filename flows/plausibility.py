"""Judge closed cases by the plausibility rules, each prediction once under the same rules."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from configs.plausibility import PlausibilityRules, plausibility_in_force
from flows.progress import Advance, silent
from model.grid import Box
from model.placed_crop import PlacedMask
from model.plausibility.check import check_anatomy
from model.plausibility.finding import Finding
from storage.findings import (
    StoredFinding,
    UncheckedPrediction,
    record_check,
    unchecked_predictions,
)
from storage.grid import Grid
from storage.masks import decode_crop
from storage.model_registry import configured_committee
from storage.predictions import CONSENSUS, StoredMask, manifest_grid, masks_of_case, nested_box
from storage.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CheckSummary:
    """What was checked.

    Attributes:
        checked: Cases.
        failed: Case -> why it could not be checked; it is tried again next time.
        faults: How many findings are faults.
        notes: And how many notes.
    """

    checked: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    faults: int = 0
    notes: int = 0


def check_cases(
    store: Store, case_ids: Collection[str] | None = None, *, advance: Advance = silent
) -> CheckSummary:
    """Check the configured committee's predictions that these rules have not judged yet.

    A case whose masks cannot be read is told of and left out; the others go on.

    Args:
        store: The workspace.
        case_ids: Of these cases alone; all when None.
        advance: Told how many cases are done.

    Raises:
        ConfigError: The committee is not complete, or the rules break a rule.
        StorageError: The workspace is locked or cannot be written to.
    """
    rules = plausibility_in_force(store.settings.annotate.plausibility, store.workspace.root)
    if rules is None:
        return CheckSummary()
    committee_id = configured_committee(store).committee_id
    with store.read() as connection:
        waiting = unchecked_predictions(connection, committee_id, rules.digest, case_ids=case_ids)
    if waiting:
        store.objects.put(rules.content)
    done: list[str] = []
    failed: list[tuple[str, str]] = []
    severities: list[str] = []
    for number, one in enumerate(waiting, start=1):
        try:
            findings = check_prediction(store, one, rules)
        except Exception as error:  # noqa: BLE001 whatever one case holds, the others are checked
            _LOG.warning("%s was not checked for plausibility", one.case_id, exc_info=error)
            failed.append((one.case_id, str(error)))
            continue
        if record_check(store, one.prediction_id, rules.digest, findings):
            done.append(one.case_id)
            severities.extend(finding.severity for finding in findings)
        advance(number, len(waiting))
    faults = severities.count("fault")
    return CheckSummary(tuple(done), tuple(failed), faults, len(severities) - faults)


def check_closed_case(store: Store, case_id: str) -> None:
    """Check a case that was closed just now; whatever goes wrong, the case stays closed.

    What was missed is caught up by the next triage.
    """
    try:
        check_cases(store, [case_id])
    except Exception as error:  # noqa: BLE001 the case is closed and right without it
        _LOG.warning("%s was not checked for plausibility", case_id, exc_info=error)


def check_prediction(
    store: Store, one: UncheckedPrediction, rules: PlausibilityRules
) -> list[StoredFinding]:
    """Return what the rules find in the consensus of a prediction.

    Raises:
        StorageError: A mask is missing or damaged.
    """
    with store.read() as connection:
        grid = manifest_grid(store, one.prediction_id, connection)
        masks = masks_of_case(connection, one.prediction_id)
    consensus = [mask for found in masks.values() for mask in found if mask.member == CONSENSUS]
    findings = check_anatomy(
        _crops(store, consensus, grid),
        shape=grid.ras_shape,
        spacing_mm=grid.ras_spacing_mm,
        rules=rules,
        covered=one.covered,
    )
    return [_stored(finding, grid) for finding in findings]


def _crops(
    store: Store, masks: Collection[StoredMask], grid: Grid
) -> Iterator[tuple[str, PlacedMask]]:
    for mask in masks:
        box = nested_box(mask.box)
        crop = decode_crop(store.objects.read(mask.object), box, grid)
        (i0, i1), (j0, j1), (k0, k1) = grid.box_to_ras(box)
        yield mask.structure, PlacedMask(crop.view(bool), Box((i0, j0, k0), (i1, j1, k1)))


def _stored(finding: Finding, grid: Grid) -> StoredFinding:
    return StoredFinding(
        structure=finding.structure,
        rule=finding.rule,
        severity=finding.severity,
        other=finding.other,
        value=round(finding.value, 4),
        place=None if finding.place is None else grid.voxel_from_ras(finding.place),
        explanation=finding.explanation,
        mentions=finding.mentions,
    )
