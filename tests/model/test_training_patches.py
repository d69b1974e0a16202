from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from model.augmentation import AugmentationSettings, change_intensities, draw_transform
from model.training_patches import PatchSampler, _places, _read_image, _read_labels
from model.training_samples import PreparedSample, unpack_labels


def sample(*annotated: int, size: int = 12) -> PreparedSample:
    """Structure 0 is the low half along I, 1 the corner voxel block, 2 is nowhere."""
    generator = torch.Generator().manual_seed(4)
    masks = torch.zeros(3, size, size, size, dtype=torch.uint8)
    masks[0, : size // 2] = 1
    masks[1, -2:, -2:, -2:] = 1
    return PreparedSample(
        image=torch.rand(size, size, size, generator=generator).half(),
        labels=sum(masks[n] << bit for bit, n in enumerate(annotated))[None],  # type: ignore[index]
        annotated=torch.tensor(annotated),
        centres={n: masks[n].nonzero() for n in annotated if masks[n].any()},
    )


def sampler(*samples: PreparedSample, **changes: object) -> PatchSampler:
    values: dict[str, object] = {
        "samples": samples,
        "patch": (6, 6, 6),
        "background_share": 1.0,
        "weights": torch.ones(3),
        "augmentation": None,
        **changes,
    }
    return PatchSampler(**values)  # type: ignore[arg-type]


def test_a_patch_of_the_volumes_size_is_the_volume() -> None:
    case = sample(0, 1)

    batch = sampler(case, patch=(12, 12, 12)).draw(1, torch.Generator().manual_seed(0))

    (target,) = batch.targets
    torch.testing.assert_close(batch.images[0, 0], case.image.float())
    assert target.structure_index.tolist() == [0, 1]
    assert torch.equal(target.voxels, torch.arange(12**3))
    expected = unpack_labels(case.labels, torch.tensor([0, 1])).flatten(1)
    assert torch.equal(target.target, expected)


def test_only_annotated_structures_get_a_target() -> None:
    batch = sampler(sample(0), sample(1, 2)).draw(8, torch.Generator().manual_seed(0))

    queries = {tuple(target.structure_index.tolist()) for target in batch.targets}

    assert queries == {(0,), (1, 2)}


def test_all_foreground_is_seen_and_the_background_weighs_what_it_stands_for() -> None:
    case = sample(0, size=24)
    every = sampler(case, patch=(24, 24, 24))
    few = sampler(case, patch=(24, 24, 24), background_share=0.1)

    (whole,) = every.draw(1, torch.Generator().manual_seed(0)).targets
    (part,) = few.draw(1, torch.Generator().manual_seed(0)).targets

    assert part.target.sum() == whole.target.sum() == 24**3 / 2
    background = part.weight[part.target[0] == 0]
    assert torch.equal(background, torch.full_like(background, 10.0))
    assert float(background.sum()) == pytest.approx(24**3 / 2, rel=0.1)
    assert part.voxels.unique().numel() == part.voxels.numel() < 0.6 * 24**3


def test_rare_structures_are_aimed_at() -> None:
    batch = sampler(sample(0, 1)).draw(60, torch.Generator().manual_seed(0))

    hits = sum(bool(target.target[1].any()) for target in batch.targets)

    # Anywhere at random, a patch of 6^3 in 12^3 that stays inside holds the corner in 1 of 343.
    assert hits > 15


def test_equal_seeds_draw_equal_patches() -> None:
    draw = sampler(sample(0, 1), augmentation=AugmentationSettings()).draw

    first, second = (draw(2, torch.Generator().manual_seed(9)) for _ in range(2))

    assert torch.equal(first.images, second.images)
    assert torch.equal(first.targets[1].target, second.targets[1].target)


def test_a_turned_patch_is_what_scipy_reads() -> None:
    case = sample(0, 1)
    settings = AugmentationSettings(rotation_degrees=20.0, scale=0.2)
    transform = draw_transform(settings, torch.Generator().manual_seed(1))
    places = _places((4, 4, 4), torch.tensor([6.0, 6.0, 6.0]), transform)

    image, words = _read_image(case.image, places), _read_labels(case.labels, places)

    # Voxel n's centre is at n + 0.5 of our places and at n of SciPy's.
    at = (places - 0.5).permute(3, 0, 1, 2).numpy()
    expected = ndimage.map_coordinates(case.image.float().numpy(), at, order=1)
    torch.testing.assert_close(image, torch.from_numpy(expected), rtol=0, atol=1e-5)
    nearest = ndimage.map_coordinates(case.labels[0].numpy(), at, order=0)
    assert torch.equal(words[0], torch.from_numpy(nearest))


def test_outside_the_volume_are_air_and_no_structure() -> None:
    case = sample(0, 1)
    places = _places((4, 4, 16), torch.tensor([6.0, 6.0, 6.0]), torch.eye(3))

    image, words = _read_image(case.image, places), _read_labels(case.labels, places)

    outside = (places[..., 2] < 0) | (places[..., 2] > 12)
    assert outside.sum() == 4 * 4 * 4
    assert not image[outside].any()
    assert not words[0][outside].any()
    assert image[~outside].any()


def test_the_sides_of_the_body_are_never_swapped() -> None:
    generator = torch.Generator().manual_seed(0)

    transforms = [draw_transform(AugmentationSettings(), generator) for _ in range(50)]

    assert all(float(torch.det(transform)) > 0 for transform in transforms)
    assert all(float(transform.diagonal().min()) > 0.8 for transform in transforms)


def test_a_turn_keeps_lengths_when_nothing_is_scaled() -> None:
    transform = draw_transform(AugmentationSettings(scale=0.0), torch.Generator().manual_seed(3))

    torch.testing.assert_close(transform @ transform.T, torch.eye(3))
    assert not torch.allclose(transform, torch.eye(3))


def test_intensities_stay_in_their_window_and_differ() -> None:
    image = torch.rand(4, 4, 4)

    changed = change_intensities(image, AugmentationSettings(), torch.Generator().manual_seed(0))

    assert not torch.equal(changed, image)
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1


def test_no_change_of_intensities_is_none() -> None:
    still = AugmentationSettings(contrast=0.0, brightness=0.0, noise=0.0)
    image = torch.rand(4, 4, 4)

    torch.testing.assert_close(
        change_intensities(image, still, torch.Generator().manual_seed(0)), image
    )
