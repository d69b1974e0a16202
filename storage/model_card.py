"""A model's card as text: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from storage.canonical_json import JsonObject


def card_json(name: str, weights: str, card: JsonObject) -> str:
    """Return the card as indented JSON with sorted keys."""
    return json.dumps({"name": name, "weights": weights, **card}, indent=2, sort_keys=True) + "\n"


def card_markdown(name: str, weights: str, card: JsonObject) -> str:
    """Return the card as Markdown.

    Args:
        name: Of the model.
        weights: SHA-256 of its checkpoint.
        card: Any JSON. Sections as ``model.model_card`` makes them become tables; all else, and
            sections of another shape, are listed as facts.
    """
    lines = [f"# {name}", "", f"Weights: `{weights}`", ""]
    facts = dict(card)
    if "trained_on" in facts:
        lines += [f"**Trained on {_cell(facts.pop('trained_on'))}.**", ""]
    for key, render in _SECTIONS.items():
        section = _section(render, card.get(key))
        if section:
            lines += section
            del facts[key]
    lines += _facts(facts)
    return "\n".join(lines).rstrip("\n") + "\n"


def card_temperatures(card: Mapping[str, Any]) -> dict[str, float]:
    """Return structure -> temperature of a card; 1 is left out, and a card may have none."""
    found = card.get("temperatures")
    listed = found.get("structures", {}) if isinstance(found, Mapping) else {}
    values = {name: float(one["temperature"]) for name, one in listed.items()}
    return {name: value for name, value in sorted(values.items()) if value != 1.0}


def _section(render: Callable[[Any], Iterator[str]], value: object) -> list[str]:
    """Return a section's lines; none where the card lacks it or has it in another shape."""
    try:
        return list(render(value)) if value else []
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        return []


def _licences(licences: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Licences", "")
    flags = ", ".join(f"**{_cell(flag)}**" for flag in licences["flags"]) or "none"
    yield from (f"Flags inherited from data and weights: {flags}.", "")
    rows = [(one["from"], one["flag"], one["licence"]) for one in licences["inherited"]]
    yield from _table(("from", "flag", "licence"), rows)


def _datasets(datasets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## Datasets", "")
    rows = [(one["id"], one["cases"], one["patients"], one["licence_flag"]) for one in datasets]
    yield from _table(("dataset", "cases", "patients", "licence flag"), rows)


def _structures(structures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## Structures", "")
    rows = [
        (
            *(name, sum(one["sources"].values()), len(one["sources"])),
            ", ".join(f"{source} ({n})" for source, n in one["sources"].items()),
            "**single source**" if one["single_source"] else "",
        )
        for name, one in structures.items()
    ]
    yield from _table(("structure", "cases", "sources", "which", ""), rows)


def _validations(validations: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for data, figures in sorted(validations.items()):
        yield from _validation(data, figures)


def _validation(data: str, figures: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## Validation on {_cell(data)}", "")
    yield f"{figures['cases']} CTs of {figures['patients']} patients. {_cell(figures['about'])}"
    yield ""
    for one in figures["macros"]:
        what = {"dsc": "DSC", "surface_dice": "surface Dice"}[one["metric"]]
        yield (
            f"- Macro mean of {one['group']}: {what} {_number(one['mean'])}"
            f"{_interval(one['interval'])}, n = {one['structures']} structures"
        )
    yield ""
    rows = [
        (
            *(one["structure"], one["n"], f"{_number(one['dsc'])}{_interval(one['interval'])}"),
            _number(one["surface_dice"]),
        )
        for one in figures["structures"]
    ]
    yield from _table(("structure", "n", "DSC", "surface Dice"), rows)


def _temperatures(temperatures: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Temperatures", "")
    yield from (f"Fitted on {_cell(temperatures['fitted_on'])}.", "")
    rows = [
        (
            *(name, _number(one["temperature"]), one["source"], one["patients"]),
            f"{_number(one['error_before'])} -> {_number(one['error_after'])}",
        )
        for name, one in temperatures["structures"].items()
    ]
    columns = ("structure", "temperature", "fitted on", "patients", "calibration error, held out")
    yield from _table(columns, rows)


def _facts(facts: JsonObject) -> Iterator[str]:
    if facts:
        yield from ("## Facts", "")
    for key, value in sorted(facts.items()):
        yield f"- {_cell(key)}: {_cell(_plain(value))}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_cell(value) for value in row)} |"
    yield ""


def _cell(value: object) -> str:
    """Return a value that cannot break a table or start a tag."""
    text = "-" if value is None else str(value)
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"


_SECTIONS: Mapping[str, Callable[[Any], Iterator[str]]] = {
    "licences": _licences,
    "datasets": _datasets,
    "structures": _structures,
    "validations": _validations,
    "temperatures": _temperatures,
}
