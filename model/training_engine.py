"""One optimiser step after the other: a network with everything that its training remembers."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.activation_checkpointing import checkpointed
from model.batch_loss import BatchLoss, balance_at
from model.memory_fault import is_out_of_memory
from model.optimizer import build_optimizer, set_learning_rate_in_place
from model.training_memory import TrainingMemoryError
from model.training_patches import TrainingBatch
from model.training_settings import TrainingSettings
from model.universal import UniversalNetwork
from model.weight_average import WeightAverage

# Below this the scaler of float16 no longer scales: what is not finite then is not its doing.
_LEAST_SCALE = 1.0


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What a step was like.

    Attributes:
        step: Counted from 1.
        loss: Mean over the step's patches, of all processes.
        learning_rate: Of the first group of weights.
        gradient_norm: Before clipping; not finite where float16 overflowed and the step was left
            out.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where the loss or its gradient stopped being finite.

    Attributes:
        step: Step, from 1, that could not be taken.
        case_ids: Cases of its patches, on this process.
        structures: Those whose own loss is not finite; empty where only a gradient is not.
        parameters: First weights with a gradient that is not finite.
    """

    step: int
    case_ids: tuple[str, ...]
    structures: tuple[str, ...]
    parameters: tuple[str, ...]


class NonFiniteStepError(Exception):
    """A step that was not taken; the loop turns it into an error with the state before it."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence)
        self.divergence = divergence


class TrainingEngine:
    """A network, its optimiser, the running mean of its weights and the scaler of float16.

    Attributes:
        network: Trained in place.
        settings: How.
        step: Steps that were taken.
        losses: Of every step that was taken.
        average: Running mean of the weights; None when the settings want none.
    """

    def __init__(
        self, network: UniversalNetwork, settings: TrainingSettings, *, device: torch.device
    ) -> None:
        """Move the network to the device and make its optimiser.

        Where a process group was joined, gradients are averaged over its processes.
        """
        self.network = network.to(device).train()
        self.settings = settings
        self.device = device
        self.step = 0
        self.losses: list[float] = []
        self.optimizer = build_optimizer(network, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.autocast == "float16")
        decay = settings.average_decay
        self.average = None if decay is None else WeightAverage(network, decay)
        self._loss = BatchLoss(network, settings)
        self._parallel = _parallel(self._loss, device)

    def take(self, batches: Sequence[TrainingBatch]) -> StepRecord:
        """Take one step on the mean gradient of some batches of equal size.

        Raises:
            NonFiniteStepError: Loss or gradient are not finite; the weights stay as they are.
            TrainingMemoryError: Memory is full; the weights stay as they are.
        """
        self.network.train()
        rate = set_learning_rate_in_place(self.optimizer, self.step, self.settings)
        try:
            value = self._gradient(batches)
        except Exception as error:
            self.optimizer.zero_grad(set_to_none=True)
            if not is_out_of_memory(error):
                raise
            raise TrainingMemoryError(
                self.step + 1, self.settings, free_bytes(self.device)
            ) from error
        norm = self._clip()
        if not self._may_step(value, norm):
            raise NonFiniteStepError(self._divergence(batches))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.network)
        self.step += 1
        self.losses.append(value)
        return StepRecord(self.step, value, rate, norm)

    def present_network(self) -> UniversalNetwork:
        """Return what has been learned, in evaluation mode; the next step trains on from it.

        With a running mean it is a copy that has the mean as its weights.
        """
        if self.average is None or not self.average.updates:
            return self.network.eval()
        network = copy.deepcopy(self.network)
        self.average.write_into(network)
        return network.eval()

    def _gradient(self, batches: Sequence[TrainingBatch]) -> float:
        """Add up the gradients of the batches; return their mean loss over all processes."""
        balance = balance_at(self.step, self.settings)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        saving = self.settings.activation_checkpointing
        for number, batch in enumerate(batches):
            with (
                self._without_exchange(last=number == len(batches) - 1),
                checkpointed(self.network.backbone, enabled=saving),
            ):
                loss = cast(Tensor, self._parallel(batch, balance)) / len(batches)
                cast(Tensor, self.scaler.scale(loss)).backward()
            total += loss.detach()
        return _mean_over_processes(total)

    def _without_exchange(self, *, last: bool) -> AbstractContextManager[Any]:
        if last or not isinstance(self._parallel, DistributedDataParallel):
            return nullcontext()
        return self._parallel.no_sync()

    def _clip(self) -> float:
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        return float(norm)

    def _may_step(self, loss: float, norm: float) -> bool:
        if not math.isfinite(loss):
            return False
        # The scaler leaves such a step out itself and tries a smaller scale.
        tries_smaller = self.scaler.is_enabled() and self.scaler.get_scale() > _LEAST_SCALE
        return math.isfinite(norm) or tries_smaller

    def _divergence(self, batches: Sequence[TrainingBatch]) -> Divergence:
        parameters = [
            name
            for name, weight in self.network.named_parameters()
            if weight.grad is not None and not bool(torch.isfinite(weight.grad).all())
        ]
        self.optimizer.zero_grad(set_to_none=True)
        broken = [name for batch in batches for name in self._loss.broken_structures(batch)]
        ids = [case_id for batch in batches for case_id in batch.case_ids]
        return Divergence(
            self.step + 1,
            tuple(dict.fromkeys(ids)),
            tuple(dict.fromkeys(broken)),
            tuple(parameters[:3]),
        )


def free_bytes(device: torch.device) -> int | None:
    """Return the memory of a device that nobody uses; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 no file of a user
            facts: Mapping[str, str] = dict(line.split(":", 1) for line in file)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _parallel(loss: BatchLoss, device: torch.device) -> nn.Module:
    if not _has_peers():
        return loss
    # Which weights a step uses depends on what its cases annotate.
    return DistributedDataParallel(
        loss,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=True,
    )


def _mean_over_processes(value: Tensor) -> float:
    if _has_peers():
        torch.distributed.all_reduce(value)
        value = value / torch.distributed.get_world_size()
    return float(value)


def _has_peers() -> bool:
    distributed = torch.distributed
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )
