"""What ``atlasloop train`` does, at a terminal or as a flow."""

from __future__ import annotations

from dataclasses import replace

from flows.train import TrainSummary, resume, train
from flows.train_loop import TrainingWatch
from flows.train_request import TrainRequest
from flows.training_validation import training_validation
from storage.store import Store


def carry_out(
    store: Store, request: TrainRequest, watch: TrainingWatch | None = None
) -> TrainSummary | None:
    """Train or go on training; returns what ``train`` does.

    Args:
        store: A workspace with the request's flags in its settings.
        request: What is wanted.
        watch: Who hears of it; who validates follows from the request.

    Raises:
        UsageError: Flags are missing or contradict each other; and what ``train`` raises.
    """
    request.check()
    watch = replace(
        watch or TrainingWatch(), validate=training_validation(store, request.validate_on)
    )
    if request.resume is not None:
        return resume(store, request.resume, join=request.join, watch=watch)
    return train(
        store,
        request.folders,
        name=request.name or "",
        overrides=request.overrides,
        join=request.join,
        watch=watch,
    )
