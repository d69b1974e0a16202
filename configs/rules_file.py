"""Rules in a TOML file: the shipped ones, none, or a user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from configs.errors import ConfigError

SHIPPED = "shipped"
OFF = "off"

Rules = TypeVar("Rules", bound=BaseModel)


def rules_in_force(
    setting: str, root: Path, *, name: str, shipped: Callable[[], Rules], purpose: str
) -> Rules | None:
    """Return the rules that a setting chooses; None for none.

    Args:
        setting: ``shipped``, ``off``, or a TOML file.
        root: Where a relative path starts.
        name: Of the setting, for messages.
        shipped: Gives the shipped rules, which say of what kind they are.
        purpose: What a file with a fault cannot do, for messages.

    Raises:
        ConfigError: The file is not there, is no TOML, or breaks a rule.
    """
    if setting == OFF:
        return None
    own = shipped()
    if setting == SHIPPED:
        return own
    try:
        text = (root / setting).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{name} must be {SHIPPED!r}, {OFF!r} or a TOML file with rules, got {setting!r}, "
            "which cannot be read"
        ) from error
    return parsed_rules(type(own), text, setting, purpose=purpose)


def parsed_rules(kind: type[Rules], text: str, name: str, *, purpose: str) -> Rules:
    """Return checked rules.

    Args:
        kind: Of rules.
        text: TOML.
        name: Of the file, for messages.
        purpose: What a file with a fault cannot do.

    Raises:
        ConfigError: The text is no TOML, or breaks a rule.
    """
    try:
        return kind.model_validate(tomllib.loads(text))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        words = f"{place}: {fault['msg']}" if place else fault["msg"]
        raise ConfigError(f"{name} cannot {purpose}: {words}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from error
