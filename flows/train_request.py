"""What a training is asked for; apart, since who only asks need not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UsageError

_OF_THE_PLAN = frozenset(
    ("batch_size", "accumulation", "learning_rate", "activation_checkpointing")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOverrides:
    """What the caller wants otherwise than the preset says; ``None`` keeps the preset's.

    Attributes:
        init: Where the first weights come from: a model's name, ``champion`` or a file.
        encoding: ``learned``, ``one_hot``, ``anatomy`` or a stored encoding's name.
        own_labels: Train on the workspace's labels beside the cohorts; without a cohort they are
            what is trained on.
    """

    preset: str | None = None
    steps: int | None = None
    seed: int | None = None
    init: str | None = None
    encoding: str | None = None
    own_labels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """The command's flags.

    Attributes:
        folders: Cohort folders.
        name: Of the model.
        overrides: What differs from the preset.
        resume: Run to go on with.
        join: Whether the model joins the committee.
        validate_on: ``gate``, ``report`` or a cohort folder.
        settings: Settings of ``[train]`` that were given as flags.
        device: Where to compute; None takes the setting.
    """

    folders: tuple[Path, ...] = ()
    name: str | None = None
    overrides: TrainOverrides = TrainOverrides()
    resume: str | None = None
    join: bool = False
    validate_on: str | None = None
    settings: dict[str, Any] | None = None
    device: str | None = None

    def check(self) -> None:
        """Raise UsageError where flags are missing or contradict each other."""
        if self.resume is None:
            if self.name is None:
                raise UsageError("a training needs --name, or --resume RUN")
            return
        changed = _OF_THE_PLAN & set(self.settings or {})
        if self.name is not None or self.folders or changed or self.overrides != TrainOverrides():
            raise UsageError(
                "a run is resumed with the plan that it began with: leave out data, name and what "
                "would change it; to change it, begin a new run with --init RUN"
            )

    def flags(self) -> dict[str, Any]:
        """Return what goes before the settings file."""
        annotate = {} if self.device is None else {"annotate": {"device": self.device}}
        return {**annotate, "train": self.settings or {}}
