"""Folders of trainings: what is trained, checkpoints to go on from, curves.

``runs/train/<run id>/``: ``run.json`` says what is trained and never changes; ``checkpoints/``
holds the newest states and the best; ``finished.json`` is written last. All of them are written
under a temporary name, flushed and renamed. Who trains holds ``lock``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConflictError, StorageError, UsageError
from storage.canonical_json import JsonObject, sha256_hex, to_bytes
from storage.durable_file import UNFINISHED, durable
from storage.process_lock import process_lock
from storage.workspace import Workspace

_PREFIX, _SUFFIX = "step-", ".safetensors"


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """The folder of one training.

    Attributes:
        root: ``runs/train/<run id>``.
        description: What is trained, as JSON; equal ones give equal weights.
    """

    root: Path
    description: JsonObject

    @property
    def run_id(self) -> str:
        """The id of the run that began it."""
        return self.root.name

    @property
    def digest(self) -> str:
        """SHA-256 of the description."""
        return sha256_hex(to_bytes(self.description))

    @property
    def is_finished(self) -> bool:
        """Whether its model was registered."""
        return (self.root / "finished.json").exists()

    @property
    def steps_csv(self) -> Path:
        """Loss, learning rate, gradient norm and seconds of each step."""
        return self.root / "steps.csv"

    @property
    def validation_csv(self) -> Path:
        """What validations gave."""
        return self.root / "validation.csv"

    @property
    def curves_png(self) -> Path:
        """Both as a picture."""
        return self.root / "curves.png"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's events."""
        return self.root / "tensorboard"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes off the folder; what a killed one left half written is removed.

        Raises:
            ConflictError: Another process trains there.
        """
        with process_lock(self.root / "lock") as free:
            if not free:
                raise ConflictError(
                    f"one process trains in a run at a time, another is at {self.run_id}; wait for "
                    "it, or stop it with Ctrl-C and run the command again"
                )
            for leftover in self.root.rglob(f"*{UNFINISHED}"):
                leftover.unlink()
            yield

    def checkpoints(self) -> list[Path]:
        """Return the states to go on from, newest first."""
        found = self._checkpoint_folder.glob(f"{_PREFIX}*{_SUFFIX}")
        return sorted(found, key=_step_of, reverse=True)

    def new_checkpoint(self, step: int) -> AbstractContextManager[Path]:
        """Yield a path to write the state after a step to; see ``durable``."""
        return durable(self._checkpoint_folder / f"{_PREFIX}{step:08d}{_SUFFIX}")

    def prune_checkpoints(self, *, keep: int, best_step: int | None = None) -> None:
        """Delete all but the newest states and the one of the best step."""
        for path in self.checkpoints()[keep:]:
            if _step_of(path) != best_step:
                path.unlink()

    def finish(self, facts: JsonObject) -> None:
        """Note that the model is registered."""
        _write_json(self.root / "finished.json", facts)

    @property
    def _checkpoint_folder(self) -> Path:
        return self.root / "checkpoints"


def begin_run(workspace: Workspace, run_id: str, description: JsonObject) -> TrainingRun:
    """Make the folder of a new training."""
    run = TrainingRun(_folder(workspace) / run_id, description)
    _write_json(run.root / "run.json", description)
    return run


def training_run(workspace: Workspace, run_id: str) -> TrainingRun:
    """Return a training by its id, or by ``last``.

    Raises:
        UsageError: There is none of that id.
        StorageError: Its description cannot be read.
    """
    known = _run_ids(workspace)
    if run_id == "last" and known:
        run_id = known[-1]
    if run_id not in known:
        raise UsageError(
            f"a training is resumed by its id or 'last', got {run_id!r}; known are "
            f"{', '.join(known[-5:]) or 'none'}"
        )
    root = _folder(workspace) / run_id
    try:
        return TrainingRun(root, json.loads((root / "run.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise StorageError(f"run.json of {run_id} cannot be read; begin a new training") from error


def unfinished_run(workspace: Workspace, description: JsonObject) -> TrainingRun | None:
    """Return the newest training of this description that did not come to its end."""
    wanted = TrainingRun(_folder(workspace), description).digest
    for run_id in reversed(_run_ids(workspace)):
        run = training_run(workspace, run_id)
        if run.digest == wanted:
            return None if run.is_finished else run
    return None


def _run_ids(workspace: Workspace) -> list[str]:
    return sorted(path.parent.name for path in _folder(workspace).glob("*/run.json"))


def _folder(workspace: Workspace) -> Path:
    return workspace.runs_path / "train"


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX))


def _write_json(path: Path, value: JsonObject) -> None:
    with durable(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
