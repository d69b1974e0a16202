"""A model's card from plain values: what it learned from, what binds it and how it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model.agreement_report import StructureAgreement
from model.calibration import StructureCalibration
from model.validation import ValidationSummary

CARD_SCHEMA = 1
Card = dict[str, Any]
"""JSON values."""

_RESTRICTIVE_FIRST = (
    "nc-nd",
    "copyleft-nc",
    "nc",
    "copyleft",
    "registration",
    "permissive",
    "none",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetUse:
    """A dataset that a model was trained on.

    Attributes:
        id: Of the dataset, or of the site of a cohort.
        cases: CTs.
        patients: Whose they are; None where that is not known.
        licence_flag: ``permissive``, ``registration``, ``copyleft``, ``nc``, ``copyleft-nc``,
            ``nc-nd``, or ``none`` for what carries no licence.
        licence: In words.
        annotated: Structure -> CTs that annotate it, absent or not.
    """

    id: str
    cases: int
    patients: int | None
    licence_flag: str
    licence: str
    annotated: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class InheritedLicence:
    """A licence that binds a model because of what it was made from.

    Attributes:
        source: Dataset or weights.
        flag: As of ``DatasetUse``.
        licence: In words.
    """

    source: str
    flag: str
    licence: str


def training_card(
    datasets: Sequence[DatasetUse],
    *,
    structures: Sequence[str],
    configuration: Mapping[str, object],
    code: Mapping[str, str],
    weights: Sequence[InheritedLicence] = (),
) -> Card:
    """Return what the card says of training.

    Args:
        datasets: What was trained on.
        structures: Outputs of the network, in their order.
        configuration: All that decides on the training, JSON values; the card holds its hash.
        code: Versions of what trained it.
        weights: Licences of the weights that training started from.
    """
    return {
        "card_schema": CARD_SCHEMA,
        "datasets": [_dataset(one) for one in datasets],
        "structures": {name: _structure(_sources(name, datasets)) for name in structures},
        "configuration_sha256": configuration_hash(configuration),
        "code": dict(code),
        "licences": licences(
            [
                *weights,
                *(InheritedLicence(one.id, one.licence_flag, one.licence) for one in datasets),
            ]
        ),
    }


def retrained_card(card: Mapping[str, Any], use: DatasetUse) -> Card:
    """Return the sections of a card once its model was trained on with one more dataset.

    What the dataset said before under its id is replaced. Empty for a card without such sections:
    what its model was trained on is not known, and half of it would mislead.
    """
    if card.get("card_schema") != CARD_SCHEMA or "datasets" not in card:
        return {}
    structures = {
        name: _structure(
            {k: n for k, n in one["sources"].items() if k != use.id} | _sources(name, [use])
        )
        for name, one in card["structures"].items()
    }
    added = InheritedLicence(use.id, use.licence_flag, use.licence)
    return {
        "datasets": [*(one for one in card["datasets"] if one["id"] != use.id), _dataset(use)],
        "structures": structures,
        "licences": licences([*inherited_licences(card), added]),
    }


def licences(inherited: Sequence[InheritedLicence]) -> Card:
    """Return all licences that bind a model, and their flags, the most restrictive first."""
    unique = list(dict.fromkeys(inherited))
    flags = {one.flag for one in unique}
    ranks = {flag: rank for rank, flag in enumerate(_RESTRICTIVE_FIRST)}
    return {
        "flags": sorted(flags, key=lambda flag: (ranks.get(flag, -1), flag)),
        "inherited": [
            {"from": one.source, "flag": one.flag, "licence": one.licence} for one in unique
        ],
    }


def inherited_licences(card: Mapping[str, Any]) -> tuple[InheritedLicence, ...]:
    """Return the licences in the card of weights that training starts from."""
    found = card.get("licences")
    listed = found.get("inherited", ()) if isinstance(found, Mapping) else ()
    return tuple(InheritedLicence(one["from"], one["flag"], one["licence"]) for one in listed)


def configuration_hash(configuration: Mapping[str, object]) -> str:
    """Return the SHA-256 of a configuration, which does not depend on the order of its keys."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def validation_section(summary: ValidationSummary, *, about: str) -> Card:
    """Return the figures of one validation for the card, rounded to four places.

    Args:
        summary: What was measured.
        about: What the references are, in a sentence.
    """
    return {
        "about": about,
        "cases": summary.cases,
        "patients": summary.patients,
        "macros": [
            {
                "group": one.group,
                "metric": one.metric,
                "mean": round(one.mean, 4),
                "interval": _rounded(one.interval),
                "structures": one.structures,
            }
            for one in summary.macros
        ],
        "structures": [_figures(row) for row in summary.structures],
    }


def temperature_section(calibrations: Sequence[StructureCalibration], *, fitted_on: str) -> Card:
    """Return temperatures for the card; ``storage.model_card`` reads them back."""
    return {
        "fitted_on": fitted_on,
        "structures": {
            one.structure: {
                "temperature": one.temperature,
                "source": one.source,
                "patients": one.patients,
                "error_before": round(one.error_before, 5),
                "error_after": round(one.error_after, 5),
            }
            for one in calibrations
        },
    }


def _dataset(use: DatasetUse) -> Card:
    return {key: value for key, value in asdict(use).items() if key != "annotated"}


def _sources(structure: str, datasets: Sequence[DatasetUse]) -> dict[str, int]:
    return {one.id: one.annotated[structure] for one in datasets if one.annotated.get(structure)}


def _structure(sources: Mapping[str, int]) -> Card:
    return {"sources": dict(sorted(sources.items())), "single_source": len(sources) == 1}


def _figures(row: StructureAgreement) -> Card:
    return {
        "structure": row.structure,
        "n": row.dsc.n if row.dsc else 0,
        "dsc": round(row.dsc.mean, 4) if row.dsc else None,
        "interval": _rounded(row.dsc.interval) if row.dsc else None,
        "surface_dice": round(row.surface_dice.mean, 4) if row.surface_dice else None,
        "agree_absent": row.agree_absent,
    }


def _rounded(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [round(end, 4) for end in interval]
