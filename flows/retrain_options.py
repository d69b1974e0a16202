"""What a retraining is asked for; apart, since who only asks need not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainOptions:
    """What the caller wants.

    Attributes:
        cohorts: Folders of partially labeled cases to train on beside the corrections.
        members: Names of the members to retrain; all when empty.
        steps: Optimiser steps; None takes the setting.
        seed: Of patches and of the bootstrap.
        accept_underpowered: Promote although some criteria could not be decided.
    """

    cohorts: tuple[Path, ...] = ()
    members: tuple[str, ...] = ()
    steps: int | None = None
    seed: int = 0
    accept_underpowered: bool = False
