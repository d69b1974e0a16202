"""The segmentation loss of partially labeled patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from configs.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedLoss:
    """Binary cross-entropy plus soft Dice, over annotated (sample, structure) pairs only.

    Of one pair: the mean cross-entropy over the crop, plus
    1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s), with both sums over the whole crop. With ``s`` on
    both sides of the fraction an absent structure that is predicted absent costs nothing.

    Attributes:
        reduction: How the pairs of a batch are joined. With ``sum`` a structure keeps its gradient
            however many neighbours are annotated.
        smooth: The constant s, in voxels.
        overlap: ``dice`` for the term above. ``log_dice`` takes minus the logarithm of the
            coefficient instead: then foreground and background of a structure pull alike whatever
            its size, and a network that still predicts nothing at all learns small structures
            several times sooner.

    Source:
        Equal weights and mean over pairs: Liu et al. 2023. Sum: Ulrich et al. 2023 (MultiTalent).
        Logarithm of Dice: Wong et al. 2018.
    """

    reduction: Literal["mean", "sum"] = "mean"
    smooth: float = 1.0
    overlap: Literal["dice", "log_dice"] = "dice"

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ModelError(f"reduction must be mean or sum, got {self.reduction!r}")
        if self.overlap not in ("dice", "log_dice"):
            raise ModelError(f"overlap must be dice or log_dice, got {self.overlap!r}")
        if self.smooth <= 0:
            raise ModelError(f"smooth must be positive, got {self.smooth}")

    def __call__(
        self,
        logits: Tensor,
        target: Tensor,
        mask: Tensor,
        voxel_weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, a scalar; 0 when nothing is annotated.

        Args:
            logits: Shape (B, Q, I, J, K).
            target: 0 or 1 where annotated, anything elsewhere, uint8, shape (B, Q, I, J, K).
            mask: Whether a structure is annotated in a sample, bool, shape (B, Q).
            voxel_weight: Trust in each voxel, at least 0, shape (B, Q or 1, I, J, K).

        Raises:
            ModelError: The shapes do not fit.
        """
        _check_shapes(logits, target, mask, voxel_weight)
        # Selecting, and not multiplying by zero, keeps even NaN logits of other pairs out.
        chosen = logits[mask].flatten(1).float()
        if chosen.shape[0] == 0:
            return chosen.sum()
        truth = target[mask].flatten(1).float()
        weight = None
        if voxel_weight is not None:
            weight = voxel_weight.expand(logits.shape)[mask].flatten(1).float()
        costs = _cross_entropy(chosen, truth, weight) + self._dice_loss(chosen, truth, weight)
        return costs.mean() if self.reduction == "mean" else costs.sum()

    def _dice_loss(self, logits: Tensor, truth: Tensor, weight: Tensor | None) -> Tensor:
        probabilities = torch.sigmoid(logits)
        weighted_truth = truth if weight is None else truth * weight
        overlap = (probabilities * weighted_truth).sum(1)
        predicted = probabilities if weight is None else probabilities * weight
        total = predicted.sum(1) + weighted_truth.sum(1)
        coefficient = (2 * overlap + self.smooth) / (total + self.smooth)
        return 1 - coefficient if self.overlap == "dice" else -coefficient.log()


def _cross_entropy(logits: Tensor, truth: Tensor, weight: Tensor | None) -> Tensor:
    costs = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    if weight is None:
        return costs.mean(1)
    # A pair without any trusted voxel costs nothing.
    return (costs * weight).sum(1) / weight.sum(1).clamp_min(1e-6)


def _check_shapes(
    logits: Tensor, target: Tensor, mask: Tensor, voxel_weight: Tensor | None
) -> None:
    if logits.dim() != 5 or target.shape != logits.shape or mask.shape != logits.shape[:2]:
        raise ModelError(
            "logits and target must share one shape (B, Q, I, J, K) and mask must be (B, Q), got "
            f"{tuple(logits.shape)}, {tuple(target.shape)} and {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool:
        raise ModelError(f"mask must be bool, got {mask.dtype}")
    if voxel_weight is None:
        return
    batch, queries, *grid = logits.shape
    allowed = ((batch, queries, *grid), (batch, 1, *grid))
    if tuple(voxel_weight.shape) not in allowed:
        raise ModelError(
            f"voxel_weight must have shape {allowed[0]} or {allowed[1]}, got "
            f"{tuple(voxel_weight.shape)}"
        )
