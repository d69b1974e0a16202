from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

from configs.errors import ConfigError, ModelError
from model.encoding import LearnedEncoding
from model.inference_settings import InferenceSettings
from model.query_dot_head import QueryDotHead
from model.training import (
    DivergedError,
    TrainedMember,
    TrainingSettings,
    new_network,
    train_member,
)
from model.training_samples import TrainingSample

CPU = torch.device("cpu")
STRUCTURES = ("spleen", "liver")


def toy_sample(seed: int, *annotated: str) -> TrainingSample:
    """A dark cube (spleen) toward the patient's left and a bright one (liver) toward the right."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(0, 10, (16, 16, 16))
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for name, corner, value in (("spleen", 2, -120), ("liver", 9, 200)):
        mask = np.zeros(hu.shape, bool)
        start = rng.integers(corner, corner + 2, 3)
        mask[tuple(slice(s, s + 5) for s in start)] = True
        hu[mask] += value
        if name in annotated:
            masks[name] = mask
    return TrainingSample(hu.astype(np.int16), (2.0, 2.0, 2.0), masks, case_id=f"toy-{seed}")


def toy_settings(**changes: object) -> TrainingSettings:
    values: dict[str, object] = {
        "backbone_options": {"widths": [8, 16], "fold": 2, "out_channels": 8},
        "inference": InferenceSettings(spacing_mm=(2.0, 2.0, 2.0), patch=(16, 16, 16)),
        "steps": 60,
        "learning_rate": 1e-2,
        "autocast": None,
        **changes,
    }
    return TrainingSettings(**values)  # type: ignore[arg-type]


def train(
    samples: list[TrainingSample],
    settings: TrainingSettings,
    *,
    structures: Sequence[str] = STRUCTURES,
    **options: Any,
) -> TrainedMember:
    network = new_network(settings, structures)
    return train_member(samples, settings, network, device=CPU, **options)


def test_two_partially_labeled_sites_teach_both_structures() -> None:
    sites = [toy_sample(seed, STRUCTURES[seed % 2]) for seed in range(6)]

    settings = toy_settings(steps=90, augmentation=None)
    member = train(sites, settings)

    unseen = toy_sample(99, *STRUCTURES)
    images = member.inference.scale(torch.from_numpy(unseen.hu))[None, None]
    with torch.inference_mode():
        found = member.network(images)[0] > 0
    for number, name in enumerate(STRUCTURES):
        truth = torch.from_numpy(unseen.masks[name])
        dice = 2 * (found[number] & truth).sum() / (found[number].sum() + truth.sum())
        assert dice > 0.6, name
    assert np.mean(member.losses[-5:]) < 0.5 * np.mean(member.losses[:5])


def test_equal_seeds_give_equal_weights_and_other_seeds_do_not() -> None:
    sites = [toy_sample(0, *STRUCTURES)]

    def weights(seed: int) -> torch.Tensor:
        settings = toy_settings(steps=3, seed=seed)
        network = train(sites, settings).network
        return torch.cat([value.flatten() for value in network.parameters()])

    first, second, other = weights(1), weights(1), weights(2)

    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_training_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    train([toy_sample(0, *STRUCTURES)], toy_settings(steps=1))

    assert torch.equal(torch.rand(1), expected)


def test_progress_hears_of_every_step() -> None:
    heard: list[tuple[int, float]] = []

    member = train(
        [toy_sample(0, *STRUCTURES)],
        toy_settings(steps=3),
        progress=lambda step, loss: heard.append((step, loss)),
    )

    assert heard == list(enumerate(member.losses, start=1))


def test_divergence_names_the_step_and_keeps_the_last_good_weights() -> None:
    with pytest.raises(DivergedError, match=r"did not at step \d+") as caught:
        train(
            [toy_sample(0, *STRUCTURES)],
            toy_settings(learning_rate=1e30, warmup=0.0, steps=20),
        )

    error = caught.value
    assert "cases toy-0" in str(error)
    assert error.step == len(error.member.losses) + 1 > 1
    assert all(torch.isfinite(weight).all() for weight in error.member.network.parameters())


def test_a_structure_without_any_annotation_is_refused() -> None:
    with pytest.raises(ModelError, match="'liver'"):
        train([toy_sample(0, "spleen")], toy_settings(steps=1))


def test_training_goes_on_from_a_network_and_needs_no_complete_labels() -> None:
    settings = toy_settings(steps=40, augmentation=None)
    first = train([toy_sample(0, *STRUCTURES)], settings)

    again = train_member(
        [toy_sample(1, "liver")],
        toy_settings(steps=2, learning_rate=1e-4, augmentation=None),
        first.network,
        device=CPU,
        complete=False,
    )

    assert again.losses[0] < 0.7 * first.losses[0]


def test_a_structure_that_nobody_annotated_gets_a_gradient_of_exactly_zero() -> None:
    settings = toy_settings(steps=1, head="query_dot", encoding="one_hot", weight_decay=0.0)
    network = new_network(settings, STRUCTURES)
    generator = cast(QueryDotHead, network.head).generator
    before = generator.weight.detach().clone()

    train_member([toy_sample(0, "liver")], settings, network, device=CPU, complete=False)

    # One-hot: each column of the generator belongs to one structure, and Adam moves only what has
    # a gradient.
    moved = (generator.weight != before).any(dim=0)
    assert moved[:2].tolist() == [False, True]


def test_no_case_is_refused() -> None:
    with pytest.raises(ModelError, match="at least one case"):
        train([], toy_settings(steps=1))


@pytest.mark.parametrize("change", [{"steps": 0}, {"learning_rate": float("nan")}, {"warmup": 1.0}])
def test_settings_outside_their_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        toy_settings(**change)


def test_a_loss_that_is_not_finite_is_told_with_its_structures() -> None:
    settings = toy_settings(steps=1, encoding="learned", augmentation=None)
    network = new_network(settings, STRUCTURES)
    with torch.no_grad():
        cast(LearnedEncoding, network.encoding).table[1] = torch.nan

    with pytest.raises(DivergedError, match=r"step 1 .cases toy-3; structures liver;") as caught:
        train_member([toy_sample(3, *STRUCTURES)], settings, network, device=CPU)

    assert caught.value.where.structures == ("liver",)
    assert caught.value.where.case_ids == ("toy-3",)


def test_training_can_return_the_mean_of_its_weights() -> None:
    sites = [toy_sample(0, *STRUCTURES)]
    last = train(sites, toy_settings(steps=4))

    mean = train(sites, toy_settings(steps=4, average_decay=0.5))

    weights = [dict(member.network.named_parameters()) for member in (last, mean)]
    assert last.losses == mean.losses
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
