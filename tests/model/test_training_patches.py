from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import ndimage

from configs.errors import ConfigError
from model.augmentation import (
    PAPER_AUGMENTATION,
    AugmentationSettings,
    change_intensities,
    draw_transform,
)
from model.training_patches import (
    PatchSampler,
    _places,
    _read_image,
    _read_labels,
    patch_sampler,
    read_patch,
)
from model.training_samples import PreparedSample, unpack_labels

KIDNEYS = ("spleen", "kidney_right", "kidney_left")
MIRROR = AugmentationSettings(
    affine_share=0.0, mirror_share=1.0, contrast=0.0, brightness=0.0, noise=0.0
)


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


def test_patches_that_are_only_turned_are_cut_out_as_they_would_be_interpolated() -> None:
    case = sample(0, 1)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    tilt = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

    for transform in (torch.eye(3), quarter, quarter @ quarter, flip, quarter @ flip, tilt):
        # Also past the edge of the volume, and a patch with three sizes.
        for centre in ((6.0, 6.0, 6.0), (1.0, 10.0, 5.0), (-20.0, 6.0, 6.0)):
            patch = (4, 8, 6)
            image, planes = read_patch(case, patch, torch.tensor(centre), transform)
            places = _places(patch, torch.tensor(centre), transform)
            torch.testing.assert_close(image, _read_image(case.image, places), atol=1e-5, rtol=0)
            assert torch.equal(planes, _read_labels(case.labels, places))


def test_a_quarter_turn_by_hand() -> None:
    image = torch.zeros(4, 4, 4)
    image[3, 1, 2] = 1.0
    case = PreparedSample(
        image=image.half(),
        labels=image.to(torch.uint8)[None],
        annotated=torch.tensor([0]),
        centres={},
    )
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

    turned, labels = read_patch(case, (4, 4, 4), torch.tensor([2.0, 2.0, 2.0]), quarter)

    # Seen from the middle, (1.5, -0.5) is the offset (-0.5, -1.5) of the patch: x' = y, y' = -x.
    assert turned.nonzero().tolist() == [[1, 0, 2]]
    assert labels[0].nonzero().tolist() == [[1, 0, 2]]


def kidneys(*annotated: str) -> PatchSampler:
    """A volume of 6^3 with a right kidney at low I, a left one at high I and a spleen."""
    masks = {
        "kidney_right": (0, 2, 3),
        "kidney_left": (5, 2, 3),
        "spleen": (4, 0, 0),
    }
    labels = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)
    for position, name in enumerate(annotated):
        labels[(0, *masks[name])] |= 1 << position
    numbers = [KIDNEYS.index(name) for name in annotated]
    case = PreparedSample(
        image=torch.linspace(0, 1, 6)[:, None, None].expand(6, 6, 6).half(),
        labels=labels,
        annotated=torch.tensor(numbers),
        centres={},
    )
    return patch_sampler(
        [case],
        KIDNEYS,
        patch=(6, 6, 6),
        background_share=1.0,
        augmentation=MIRROR,
    )


def seen(sampler: PatchSampler) -> tuple[torch.Tensor, dict[str, list[list[int]]]]:
    """Return the image of one patch, and the voxels of each structure with a target."""
    batch = sampler.draw(1, torch.Generator().manual_seed(0))
    (target,) = batch.targets
    found = {}
    for row, number in enumerate(target.structure_index.tolist()):
        voxels = target.voxels[target.target[row] > 0]
        found[KIDNEYS[number]] = [
            [int(v) // 36, int(v) // 6 % 6, int(v) % 6] for v in voxels.tolist()
        ]
    return batch.images[0, 0], found


def test_mirroring_swaps_the_sides_of_image_and_labels() -> None:
    image, found = seen(kidneys("spleen", "kidney_right", "kidney_left"))

    torch.testing.assert_close(image[:, 0, 0], torch.linspace(1, 0, 6), atol=1e-3, rtol=0)
    # The left kidney comes to low I, where a right one lies, and is called so.
    assert found == {
        "spleen": [[1, 0, 0]],
        "kidney_right": [[0, 2, 3]],
        "kidney_left": [[5, 2, 3]],
    }


def test_mirroring_moves_the_annotated_set_where_one_side_is_annotated() -> None:
    _, found = seen(kidneys("spleen", "kidney_left"))

    # Of the left side nothing is known any more: the right kidney was not annotated.
    assert found == {"spleen": [[1, 0, 0]], "kidney_right": [[0, 2, 3]]}


def test_a_side_whose_partner_is_not_learned_drops_out_when_mirrored() -> None:
    sampler = kidneys("spleen", "kidney_left")
    alone = replace(sampler, mirrored=torch.tensor([0, -1, -1]))

    _, found = seen(alone)

    assert found == {"spleen": [[1, 0, 0]]}


def test_without_mirroring_the_sides_stay() -> None:
    still = replace(MIRROR, mirror_share=0.0, quarter_turn_share=1.0)

    for seed in range(6):
        sampler = replace(kidneys("kidney_left"), augmentation=still)
        (target,) = sampler.draw(1, torch.Generator().manual_seed(seed)).targets
        assert target.structure_index.tolist() == [KIDNEYS.index("kidney_left")]
        assert target.target.sum() == 1


def test_mirroring_without_knowing_the_sides_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs to know the sides"):
        sampler(sample(0), augmentation=MIRROR)


def test_shares_of_patches_are_changed() -> None:
    settings = AugmentationSettings(
        affine_share=0.0, quarter_turn_share=0.1, mirror_share=0.25, zoom_share=0.3
    )
    generator = torch.Generator().manual_seed(0)

    transforms = torch.stack([draw_transform(settings, generator) for _ in range(2000)])

    size = torch.linalg.det(transforms).abs()
    # Five standard errors of 2000 draws are at most 0.052.
    assert float((transforms[:, 0, 0] == 0).float().mean()) == pytest.approx(2 / 30, abs=0.03)
    assert float((torch.linalg.det(transforms) < 0).float().mean()) == pytest.approx(0.25, abs=0.05)
    assert float((size < 0.99).float().mean()) == pytest.approx(0.3, abs=0.052)
    zoomed = size[size < 0.99].pow(-1 / 3)
    assert 1.3 <= float(zoomed.min()) < 1.35
    assert 1.45 < float(zoomed.max()) <= 1.5 + 1e-5


def test_the_papers_augmentation_turns_about_the_long_axis_and_shifts() -> None:
    generator = torch.Generator().manual_seed(0)

    for _ in range(200):
        transform = draw_transform(replace(PAPER_AUGMENTATION, zoom_share=0.0), generator)
        assert float(torch.det(transform)) == pytest.approx(1.0)
        assert transform[2].tolist() == [0.0, 0.0, 1.0]
    image = torch.full((2, 2, 2), 0.5)
    shifts = torch.stack(
        [change_intensities(image, PAPER_AUGMENTATION, generator) - image for _ in range(1000)]
    )
    assert torch.equal(shifts.amin(dim=(1, 2, 3)), shifts.amax(dim=(1, 2, 3)))
    share = float((shifts[:, 0, 0, 0] != 0).float().mean())
    assert share == pytest.approx(0.2, abs=5 * (0.2 * 0.8 / 1000) ** 0.5)
    assert 0.09 < float(shifts.abs().max()) <= 0.1 + 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        {"mirror_share": 1.1},
        {"zoom": (1.5, 1.3)},
        {"scale": 1.0},
        {"noise": -0.1},
        {"rotation_degrees": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must"):
        AugmentationSettings(**wrong)  # type: ignore[arg-type]


def test_a_batch_goes_to_a_device_whole() -> None:
    batch = sampler(sample(0, 1)).draw(2, torch.Generator().manual_seed(0))

    moved = batch.to(torch.device("meta"))

    assert moved.images.is_meta
    assert moved.images.shape == batch.images.shape
    for target in moved.targets:
        fields = (target.structure_index, target.voxels, target.weight, target.target)
        assert all(tensor.is_meta for tensor in fields)


def test_the_default_augmentation_never_swaps_the_sides_of_the_body() -> None:
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
