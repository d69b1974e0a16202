from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from configs.errors import ModelError
from model.masked_loss import MaskedLoss


def by_numpy(
    logits: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray,
    weight: np.ndarray,
    balance: float = 1.0,
) -> list[float]:
    """The cost of each annotated pair, written as the formulas are read."""
    costs = []
    for b, q in zip(*np.nonzero(mask), strict=True):
        z, y, w = logits[b, q].ravel(), target[b, q].ravel(), weight[b, q].ravel()
        p = 1 / (1 + np.exp(-z))
        cross_entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p))
        dice = (2 * np.sum(w * p * y) + 1) / (np.sum(w * p) + np.sum(w * y) + 1)
        v = w * np.where(y == 1, (np.sum(w * y) / np.sum(w)) ** (balance - 1), 1.0)
        costs.append(np.sum(v * cross_entropy) / np.sum(v) + 1 - dice)
    return costs


def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(2, 3, 4, 3, 2, generator=generator)
    target = (torch.rand(2, 3, 4, 3, 2, generator=generator) > 0.6).to(torch.uint8)
    mask = torch.tensor([[True, False, True], [False, True, True]])
    return logits, target, mask, torch.rand(2, 3, 4, 3, 2, generator=generator)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_equals_an_independent_one(reduction: str, weighted: bool) -> None:
    logits, target, mask, weight = case()
    if not weighted:
        weight = torch.ones_like(weight)
    costs = by_numpy(*(value.double().numpy() for value in (logits, target, mask, weight)))
    expected = np.mean(costs) if reduction == "mean" else np.sum(costs)

    loss = MaskedLoss(reduction=reduction)(logits, target, mask, weight if weighted else None)

    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("balance", [0.0, 0.3])
def test_a_balanced_loss_equals_an_independent_one(balance: float) -> None:
    logits, target, mask, weight = case()
    arrays = (value.double().numpy() for value in (logits, target, mask, weight))

    loss = MaskedLoss(balance=balance)(logits, target, mask, weight)

    assert float(loss) == pytest.approx(np.mean(by_numpy(*arrays, balance)), rel=1e-5)


def test_full_balance_counts_foreground_and_background_alike() -> None:
    # One voxel of eight inside, at p = 1/2, weighs 8; the seven certain ones weigh 1 each.
    target = torch.zeros(1, 1, 2, 2, 2, dtype=torch.uint8)
    target[0, 0, 0, 0, 0] = 1
    logits = torch.where(target > 0, 0.0, -40.0)
    dice = (1 + 1) / (0.5 + 1 + 1)

    loss = MaskedLoss(balance=0.0)(logits, target, torch.tensor([[True]]))

    assert float(loss) == pytest.approx(8 / 15 * math.log(2) + 1 - dice)


def test_an_absent_structure_costs_cross_entropy_alone() -> None:
    target = torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8)

    loss = MaskedLoss()(torch.zeros(1, 1, 4, 4, 4), target, torch.tensor([[True]]))

    assert float(loss) == pytest.approx(math.log(2))


def test_a_case_by_hand() -> None:
    # Two voxels with p = 1/2, one of them inside: cross-entropy ln 2, Dice (1 + 1) / (1 + 1 + 1).
    logits, target = torch.zeros(1, 1, 2, 1, 1), torch.tensor([1, 0]).reshape(1, 1, 2, 1, 1)

    loss = MaskedLoss()(logits, target.to(torch.uint8), torch.tensor([[True]]))

    assert float(loss) == pytest.approx(math.log(2) + 1 / 3)


@pytest.mark.parametrize(("dice_weight", "expected"), [(0.0, 0.0), (0.5, 1 / 6)])
def test_the_dice_counts_as_much_as_it_is_told(dice_weight: float, expected: float) -> None:
    # The case above.
    logits, target = torch.zeros(1, 1, 2, 1, 1), torch.tensor([1, 0]).reshape(1, 1, 2, 1, 1)
    loss = MaskedLoss(dice_weight=dice_weight)

    cost = loss(logits, target.to(torch.uint8), torch.tensor([[True]]))

    assert float(cost) == pytest.approx(math.log(2) + expected)


def test_cross_entropy_alone_believes_contradicting_labels_by_their_share() -> None:
    # A voxel that one of four samples calls inside: the least loss is at p = 1/4.
    target = torch.tensor([1, 0, 0, 0], dtype=torch.uint8).reshape(4, 1, 1, 1, 1)
    logit = torch.tensor(math.log(1 / 3), requires_grad=True)

    MaskedLoss(dice_weight=0.0)(
        logit.expand(4, 1, 1, 1, 1), target, torch.ones(4, 1, dtype=torch.bool)
    ).backward()

    assert logit.grad is not None
    assert float(logit.grad) == pytest.approx(0, abs=1e-6)


def test_a_perfect_mask_in_a_sixth_of_the_crop_costs_next_to_nothing() -> None:
    target = torch.zeros(1, 1, 12, 4, 4, dtype=torch.uint8)
    target[0, 0, :2] = 1
    logits = 20.0 * (2.0 * target - 1)

    assert float(MaskedLoss()(logits, target, torch.tensor([[True]]))) < 0.01


def test_an_absent_structure_that_is_predicted_absent_costs_next_to_nothing() -> None:
    target = torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8)

    assert float(MaskedLoss()(target - 20.0, target, torch.tensor([[True]]))) < 0.01


def test_logits_of_structures_that_are_not_annotated_get_no_gradient_at_all() -> None:
    logits, target, mask, _ = case()
    target[~mask] = 255
    with torch.no_grad():
        logits[0, 1] = float("nan")
    logits.requires_grad_()

    MaskedLoss()(logits, target, mask).backward()

    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad[~mask]) == 0
    assert torch.count_nonzero(logits.grad[mask]) == logits.grad[mask].numel()


def test_a_batch_without_annotation_costs_nothing_and_pulls_nowhere() -> None:
    logits, target, mask, _ = case()
    logits.requires_grad_()

    loss = MaskedLoss()(logits, target, torch.zeros_like(mask))
    loss.backward()

    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad) == 0


def test_one_weight_map_serves_all_structures() -> None:
    logits, target, mask, weight = case()
    shared = weight[:, :1]

    loss = MaskedLoss()(logits, target, mask, shared)

    assert float(loss) == float(MaskedLoss()(logits, target, mask, shared.expand(weight.shape)))


def test_voxels_without_trust_do_not_count() -> None:
    logits, target, mask, weight = case()
    weight = (weight > 0.5).float()
    changed = torch.where(weight > 0, logits, logits + 3)

    loss = MaskedLoss()

    assert float(loss(logits, target, mask, weight)) == float(loss(changed, target, mask, weight))


def test_shapes_that_do_not_fit_are_refused() -> None:
    logits, target, mask, weight = case()

    with pytest.raises(ModelError, match="share one shape"):
        MaskedLoss()(logits, target[:1], mask)
    with pytest.raises(ModelError, match="must be bool"):
        MaskedLoss()(logits, target, mask.int())
    with pytest.raises(ModelError, match="voxel_weight must have shape"):
        MaskedLoss()(logits, target, mask, weight[:, :2])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ModelError, match="mean or sum"):
        MaskedLoss(reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="balance"):
        MaskedLoss(balance=1.5)
    with pytest.raises(ModelError, match="positive"):
        MaskedLoss(smooth=0.0)
    with pytest.raises(ModelError, match="dice_weight"):
        MaskedLoss(dice_weight=-1.0)
