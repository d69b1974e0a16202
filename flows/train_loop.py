"""The steps of a training and what goes on beside them: states, curves, validation, stopping."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from configs.errors import ModelError, StoppedError, StorageError
from configs.setting_sections import TrainSettings
from flows.progress import Advance, silent
from flows.ranks import Ranks
from flows.stop_signals import StopAsked
from flows.training_curves import TrainingCurves
from model.training import DivergedError, TrainedMember, take_steps, trained_member
from model.training_engine import TrainingEngine
from model.training_memory import TrainingMemoryError
from model.training_patches import PatchSampler
from model.training_state import load_state, save_state
from storage.training_runs import TrainingRun

_LOG = logging.getLogger(__name__)

Validate = Callable[[TrainedMember, int], Mapping[str, float]]
"""Called with what the training has come to and the steps taken; returns figures by name."""


def quiet(text: str) -> None:
    """Tell nobody; the default of every plain function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWatch:
    """Who hears of a training, and who judges it.

    Attributes:
        prepare: Told the cases that are prepared.
        advance: Told the steps that are done.
        announce: Told in words what somebody at a terminal wants to know.
        validate: Judges the network now and then, on process 0; None leaves it out.
    """

    prepare: Advance = silent
    advance: Advance = silent
    announce: Callable[[str], None] = quiet
    validate: Validate | None = None


@dataclass(slots=True)
class TrainingLoop:
    """A training in its run folder.

    Attributes:
        best_step: Step of the state that validated best so far; None before the first validation.
        best_value: Its figure.
    """

    engine: TrainingEngine
    run: TrainingRun
    settings: TrainSettings
    ranks: Ranks
    watch: TrainingWatch
    best_step: int | None = None
    best_value: float = -math.inf
    _validated_step: int = 0
    _saved: tuple[int, int] = (0, 0)
    _saved_at: float = field(default_factory=time.monotonic)

    def go_back_to_newest_state(self) -> None:
        """Bring the engine to the newest state that can be read; a new run stays as it is.

        Raises:
            StorageError: There are states, and none can be read.
        """
        paths = self.run.checkpoints()
        for path in paths:
            try:
                facts = load_state(self.engine, path)
            except ModelError as error:
                _LOG.warning("state left out: %s", error)
                continue
            self.best_step, value = facts["best_step"], facts["best_value"]
            self.best_value = -math.inf if value is None else value
            self._validated_step = facts["validated_step"]
            self._saved = (self.engine.step, self._validated_step)
            return
        if paths:
            raise StorageError(
                f"no state of {self.run.run_id} can be read; begin a new training, with --init and "
                "a model if there is one"
            )

    def carry_on(self, sampler: PatchSampler, stop: StopAsked) -> None:
        """Take the steps that are left.

        Raises:
            StoppedError: A signal came; the state is kept.
            DivergedError: The loss is no longer finite; the state before it is kept.
            TrainingMemoryError: Memory is full; the state before it is kept.
        """
        curves = self._curves()
        try:
            started = time.perf_counter()
            for record in take_steps(
                self.engine, sampler, rank=self.ranks.rank, workers=self.settings.workers
            ):
                if curves is not None:
                    curves.add_step(record, time.perf_counter() - started)
                self._after_step(curves, stop)
                started = time.perf_counter()
            self._validate(curves)
            self._save()
        except (DivergedError, TrainingMemoryError):
            self._save()
            self.watch.announce(self._where())
            raise
        finally:
            if curves is not None:
                curves.close()

    def _after_step(self, curves: TrainingCurves | None, stop: StopAsked) -> None:
        step, every = self.engine.step, self.settings.validate_every
        self.watch.advance(step, self.engine.settings.steps)
        if every is not None and step % every == 0:
            self._validate(curves)
        if time.monotonic() - self._saved_at >= self.settings.checkpoint_every_s:
            self._save()
        number = self.ranks.largest(stop() or 0)
        if number and step < self.engine.settings.steps:
            self._save()
            raise StoppedError(
                f"stopped after step {step}, nothing is lost; go on with "
                f"`atlasloop train --resume {self.run.run_id}` or the same command",
                number,
            )

    def _validate(self, curves: TrainingCurves | None) -> None:
        step = self.engine.step
        if self.watch.validate is None or curves is None or step <= self._validated_step:
            return
        values = self.watch.validate(trained_member(self.engine), step)
        self._validated_step = step
        curves.add_validation(step, values)
        value = values.get(self.settings.best_figure, math.nan)
        if value > self.best_value:
            self.best_step, self.best_value = step, value
        self._save()

    def _save(self) -> None:
        """Keep the present state, if it is a new one, and delete those that the rule lets go."""
        present = (self.engine.step, self._validated_step)
        if not self.ranks.writes or present == self._saved:
            return
        self.keep_state()
        self.run.prune_checkpoints(keep=self.settings.keep_checkpoints, best_step=self.best_step)
        self._saved, self._saved_at = present, time.monotonic()

    def keep_state(self) -> None:
        """Write the present state down."""
        facts = {
            "best_step": self.best_step,
            "best_value": self.best_value if math.isfinite(self.best_value) else None,
            "validated_step": self._validated_step,
        }
        with self.run.new_checkpoint(self.engine.step) as path:
            save_state(self.engine, path, facts)

    def _curves(self) -> TrainingCurves | None:
        if not self.ranks.writes:
            return None
        return TrainingCurves(
            self.run, after_step=self.engine.step, draw_every_s=self.settings.draw_every_s
        )

    def _where(self) -> str:
        if self.engine.step == 0:
            return f"run {self.run.run_id} took no step"
        return (
            f"the state of step {self.engine.step} is kept in run {self.run.run_id}: go on with "
            f"--resume {self.run.run_id}, or with other settings and --init {self.run.run_id}"
        )
