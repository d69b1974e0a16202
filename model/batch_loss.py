"""The loss of a training batch: network, heads and masked loss as one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.masked_loss import MaskedLoss
from model.training_patches import PatchTarget, TrainingBatch
from model.training_settings import TrainingSettings
from model.universal import UniversalNetwork

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class BatchLoss(nn.Module):
    """A network that returns the loss of a batch.

    It is a module, so that ``DistributedDataParallel`` can wrap it. Structures that a patch's case
    does not annotate are not even computed for it: their logits get a gradient of exactly zero.

    Attributes:
        network: What is trained.
    """

    def __init__(self, network: UniversalNetwork, settings: TrainingSettings) -> None:
        super().__init__()
        self.network = network
        self._settings = settings

    def forward(self, batch: TrainingBatch, balance: float) -> Tensor:
        """Return the mean loss over the patches, a scalar.

        Args:
            batch: Patches and what is known about them.
            balance: Of the masked loss, see there.
        """
        settings = self._settings
        loss = MaskedLoss(
            reduction=settings.reduction, balance=balance, dice_weight=settings.dice_weight
        )
        costs = [
            _cost(loss, values, target)
            for values, target in zip(self._logits(batch), batch.targets, strict=True)
        ]
        return torch.stack(costs).mean()

    def broken_structures(self, batch: TrainingBatch) -> tuple[str, ...]:
        """Return the structures whose own loss in some patch of the batch is not finite."""
        loss, found = MaskedLoss(), set[int]()
        with torch.no_grad():
            for values, target in zip(self._logits(batch), batch.targets, strict=True):
                for row, number in enumerate(target.structure_index.tolist()):
                    alone = PatchTarget(
                        target.structure_index[row : row + 1],
                        target.voxels,
                        target.weight,
                        target.target[row : row + 1],
                    )
                    if not bool(torch.isfinite(_cost(loss, values[:, row : row + 1], alone))):
                        found.add(number)
        return tuple(self.network.structures[number] for number in sorted(found))

    def _logits(self, batch: TrainingBatch) -> list[Tensor]:
        """Return the logits of each patch's annotated structures, (1, Q, n, 1, 1)."""
        network, autocast = self.network, self._settings.autocast
        with torch.autocast(
            batch.images.device.type,
            _TYPES.get(autocast or "", torch.bfloat16),
            enabled=autocast is not None,
        ):
            features = network.backbone(batch.images)
            voxels = network.head.voxel_features(features.dec).flatten(2)
            return [
                network.head.classify(
                    voxels[number : number + 1, :, target.voxels][..., None, None],
                    features.bottleneck[number : number + 1],
                    network.encoding(target.structure_index),
                )
                for number, target in enumerate(batch.targets)
            ]


def balance_at(step: int, settings: TrainingSettings) -> float:
    """Return the loss's balance at a step counted from 0."""
    first, last = settings.balance
    return first + (last - first) * min(1.0, step / (0.8 * settings.steps))


def _cost(loss: MaskedLoss, logits: Tensor, target: PatchTarget) -> Tensor:
    return loss(
        logits,
        target.target[None, ..., None, None],
        torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device),
        target.weight[None, None, :, None, None],
    )
