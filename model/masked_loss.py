"""The segmentation loss of partially labeled patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from configs.errors import ModelError

_EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedLoss:
    """Binary cross-entropy plus soft Dice, over annotated (sample, structure) pairs only.

    Of one pair: the weighted mean cross-entropy over the crop, plus, where the structure is
    present, 1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s), with sums over the whole crop. An absent
    structure costs cross-entropy alone: its Dice would stay near 1 until nothing at all is
    predicted, and pull every probability down meanwhile.

    Attributes:
        reduction: How the pairs of a batch are joined. With ``sum`` a structure keeps its gradient
            however many neighbours are annotated.
        smooth: The constant s, in voxels.
        dice_weight: What the Dice counts beside the cross-entropy; 0 leaves it out.
        balance: In the cross-entropy a present structure's voxels weigh
            ``(share of the crop) ** (balance - 1)``: 1 is the plain mean, 0 lets foreground and
            background of every structure count alike, whatever its size.

    Source:
        Equal weights and mean over pairs: Liu et al. 2023. Sum: Ulrich et al. 2023 (MultiTalent).
        Dice of present structures only: AbdomenAtlas. Balance: our decision; without it small
        structures are not learned within the few hundred steps that a CPU affords.
    """

    reduction: Literal["mean", "sum"] = "mean"
    smooth: float = 1.0
    balance: float = 1.0
    dice_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ModelError(f"reduction must be mean or sum, got {self.reduction!r}")
        if self.smooth <= 0:
            raise ModelError(f"smooth must be positive, got {self.smooth}")
        if self.dice_weight < 0:
            raise ModelError(f"dice_weight must not be negative, got {self.dice_weight}")
        if not 0 <= self.balance <= 1:
            raise ModelError(f"balance must be between 0 and 1, got {self.balance}")

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
        weight = torch.ones_like(truth)
        if voxel_weight is not None:
            weight = voxel_weight.expand(logits.shape)[mask].flatten(1).float()
        costs = self._cross_entropy(chosen, truth, weight)
        if self.dice_weight:
            costs = costs + self.dice_weight * self._dice_loss(chosen, truth, weight)
        return costs.mean() if self.reduction == "mean" else costs.sum()

    def _cross_entropy(self, logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        costs = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        share = (truth * weight).sum(1) / weight.sum(1).clamp_min(_EPSILON)
        factor = share.clamp_min(_EPSILON).pow(self.balance - 1)[:, None]
        balanced = torch.where(truth > 0, weight * factor, weight)
        # A pair without any trusted voxel costs nothing.
        return (costs * balanced).sum(1) / balanced.sum(1).clamp_min(_EPSILON)

    def _dice_loss(self, logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        probabilities = torch.sigmoid(logits)
        overlap = (probabilities * truth * weight).sum(1)
        size = (truth * weight).sum(1)
        total = (probabilities * weight).sum(1) + size
        loss = 1 - (2 * overlap + self.smooth) / (total + self.smooth)
        return torch.where(size > 0, loss, torch.zeros_like(loss))


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
