"""Numbers and names as explanations say them."""

from __future__ import annotations

from collections.abc import Sequence

from configs.taxonomy import load_taxonomy


def title(structure: str) -> str:
    """Return a structure's name at the start of a sentence."""
    return load_taxonomy()[structure].display


def name_of(structure: str) -> str:
    """Return a structure's name inside a sentence, with its article."""
    spoken = load_taxonomy()[structure].spoken
    return f"the {spoken[:1].lower()}{spoken[1:]}"


def names_of(structures: Sequence[str]) -> str:
    """Return names joined as a sentence does."""
    names = [name_of(one) for one in structures]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def ml(volume_ml: float) -> str:
    """Return a volume; small ones with more places."""
    if volume_ml >= 10:
        return f"{volume_ml:,.0f} mL"
    return f"{volume_ml:.1f} mL" if volume_ml >= 1 else f"{volume_ml:.2g} mL"


def cm2(area_cm2: float) -> str:
    """Return an area."""
    return f"{area_cm2:.0f} cm2" if area_cm2 >= 10 else f"{area_cm2:.1f} cm2"


def mm(length_mm: float) -> str:
    """Return a length."""
    return f"{length_mm:.0f} mm"


def percent(share: float) -> str:
    """Return a share."""
    return f"{share:.0%}" if share >= 0.01 or share == 0 else f"{share:.1%}"
