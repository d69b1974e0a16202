"""The curves of a training: CSV, TensorBoard events and a picture that is drawn now and then."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flows.curve_plot import StepPoint, ValidationPoint, draw_curves
from model.training_engine import StepRecord
from storage.durable_file import durable
from storage.training_runs import TrainingRun

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

STEP_COLUMNS = ("step", "loss", "learning_rate", "gradient_norm", "seconds")
VALIDATION_COLUMNS = ("step", "figure", "value")
_FLUSH_EVERY_S = 2.0


class TrainingCurves:
    """Writes down every step; a run that is resumed goes on below what its state has seen."""

    def __init__(self, run: TrainingRun, *, after_step: int, draw_every_s: float) -> None:
        """Open the files and drop what was written of steps that will be taken again.

        Args:
            run: Where to.
            after_step: Last step of the state that the training goes on from; 0 for a new one.
            draw_every_s: Time between two pictures; the first is drawn after the first step.
        """
        # Imported here: TensorBoard is nothing for those who only import the commands.
        from torch.utils.tensorboard.writer import SummaryWriter

        self._run = run
        self._draw_every_s = draw_every_s
        self._steps = [
            StepPoint(int(row[0]), *(float(value) for value in row[1:]))
            for row in _kept(run.steps_csv, STEP_COLUMNS, after_step)
        ]
        self._validations = [
            ValidationPoint(int(row[0]), row[1], float(row[2]))
            for row in _kept(run.validation_csv, VALIDATION_COLUMNS, after_step)
        ]
        # Line by line, so that a state never knows a step that its curve does not.
        self._steps_file = run.steps_csv.open("a", 1, newline="", encoding="utf-8")
        self._events: SummaryWriter = SummaryWriter(
            str(run.tensorboard), purge_step=after_step + 1 if after_step else None
        )
        self._flushed = time.monotonic()
        self._drawn = -math.inf

    def add_step(self, record: StepRecord, seconds: float) -> None:
        """Write a step down."""
        point = StepPoint(
            record.step, record.loss, record.learning_rate, record.gradient_norm, seconds
        )
        self._steps.append(point)
        csv.writer(self._steps_file, lineterminator="\n").writerow(point)
        for name, value in zip(STEP_COLUMNS[1:], point[1:], strict=True):
            self._events.add_scalar(f"training/{name}", value, record.step)
        now = time.monotonic()
        if now - self._flushed > _FLUSH_EVERY_S:
            self._flush(now)
        if now - self._drawn >= self._draw_every_s:
            self._draw()

    def add_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a validation down."""
        with self._run.validation_csv.open("a", newline="", encoding="utf-8") as file:
            for name, value in values.items():
                self._validations.append(ValidationPoint(step, name, value))
                csv.writer(file, lineterminator="\n").writerow((step, name, value))
                self._events.add_scalar(f"validation/{name}", value, step)

    def close(self) -> None:
        """Write all that is left and draw the last picture."""
        self._flush(time.monotonic())
        if self._steps:
            self._draw()
        self._steps_file.close()
        self._events.close()

    def _flush(self, now: float) -> None:
        self._events.flush()
        self._flushed = now

    def _draw(self) -> None:
        with durable(self._run.curves_png) as temporary:
            draw_curves(temporary, self._steps, self._validations)
        self._drawn = time.monotonic()


def _kept(path: Path, columns: tuple[str, ...], after_step: int) -> list[list[str]]:
    """Return the whole rows up to a step, and leave only these in the file."""
    rows: list[list[str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            # A kill may have cut the last line.
            rows = [
                row
                for row in csv.reader(file)
                if len(row) == len(columns) and row[0].isdigit() and int(row[0]) <= after_step
            ]
    with durable(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return rows
