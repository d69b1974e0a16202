from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch

from configs.errors import ModelError
from model.inference_settings import InferenceSettings
from model.training_samples import (
    PreparedSample,
    TrainingSample,
    prepare_samples,
    sample_arrays,
    sample_from_arrays,
    unpack_labels,
)

CPU = torch.device("cpu")


def prepare(
    sample: TrainingSample, structures: tuple[str, ...], spacing_mm: float, *, complete: bool = True
) -> PreparedSample:
    inference = InferenceSettings(spacing_mm=(spacing_mm,) * 3, hu_window=(-100.0, 100.0))
    generator = torch.Generator().manual_seed(0)
    (prepared,) = prepare_samples(
        [sample], structures, inference, generator=generator, device=CPU, complete=complete
    )
    return prepared


def cube(size: int, *box: slice) -> np.ndarray:
    mask = np.zeros((size, size, size), bool)
    mask[box] = True
    return mask


def test_a_case_on_its_own_grid_keeps_every_voxel() -> None:
    mask = cube(6, slice(1, 4), slice(2, 5), slice(0, 2))
    hu = np.where(mask, 50, -300).astype(np.int16)
    sample = TrainingSample(hu, (2.0, 2.0, 2.0), {"liver": mask, "spleen": np.zeros_like(mask)})

    prepared = prepare(sample, ("spleen", "liver"), 2.0)

    labels = unpack_labels(prepared.labels, torch.tensor([1, 0]))
    assert prepared.labels.shape == (1, 6, 6, 6)
    assert torch.equal(labels[0].bool(), torch.from_numpy(mask))
    assert not labels[1].any()
    assert torch.equal(prepared.image.float(), torch.from_numpy(np.where(mask, 0.75, 0.0)).float())
    assert prepared.annotated.tolist() == [0, 1]


def test_a_mask_on_a_coarser_grid_is_where_it_fills_half_a_voxel() -> None:
    mask = cube(8, slice(2, 6), slice(2, 6), slice(2, 6))
    sample = TrainingSample(np.zeros(mask.shape, np.int16), (1.0, 1.0, 1.0), {"liver": mask})

    prepared = prepare(sample, ("liver",), 2.0)

    expected = cube(4, slice(1, 3), slice(1, 3), slice(1, 3))
    assert torch.equal(
        unpack_labels(prepared.labels, torch.tensor([0]))[0].bool(), torch.from_numpy(expected)
    )


def test_a_mask_in_a_box_is_resampled_as_in_the_whole_volume() -> None:
    rng = np.random.default_rng(2)
    mask = np.zeros((12, 10, 9), bool)
    mask[3:9, 2:8, 4:9] = rng.random((6, 6, 5)) > 0.3
    corner = mask.copy()
    corner[0, 0, 0] = corner[-1, -1, -1] = True
    hu = np.zeros(mask.shape, np.int16)
    sample = TrainingSample(hu, (2.0, 2.0, 3.0), {"liver": mask, "spleen": corner})

    labels = unpack_labels(prepare(sample, ("liver", "spleen"), 3.0).labels, torch.tensor([0, 1]))

    inner = (slice(2, -2), slice(1, -1), slice(1, -1))
    assert labels[0].any()
    assert torch.equal(labels[0][inner], labels[1][inner])


def test_a_structure_thinner_than_a_voxel_is_not_lost() -> None:
    mask = cube(9, slice(4, 5), slice(4, 5), slice(0, 9))
    sample = TrainingSample(np.zeros(mask.shape, np.int16), (1.0, 1.0, 1.0), {"aorta": mask})

    prepared = prepare(sample, ("aorta",), 3.0)

    found = unpack_labels(prepared.labels, torch.tensor([0]))[0].nonzero()
    assert len(found) > 0
    assert bool((found[:, :2] == 1).all())


def test_centres_lie_inside_their_structure_and_absent_ones_have_none() -> None:
    mask = cube(6, slice(1, 4), slice(2, 5), slice(0, 2))
    hu = np.zeros(mask.shape, np.int16)
    sample = TrainingSample(hu, (2.0, 2.0, 2.0), {"liver": mask, "spleen": np.zeros_like(mask)})

    centres = prepare(sample, ("spleen", "liver"), 2.0).centres

    assert list(centres) == [1]
    assert len(centres[1]) == mask.sum()
    assert all(mask[tuple(voxel)] for voxel in centres[1].tolist())


def test_more_structures_than_bits_of_a_plane_are_kept_apart() -> None:
    names = tuple(f"structure_{number}" for number in range(35))
    rng = np.random.default_rng(0)
    masks = {name: rng.random((3, 3, 3)) > 0.5 for name in names}
    sample = TrainingSample(np.zeros((3, 3, 3), np.int16), (1.0, 1.0, 1.0), masks)

    prepared = prepare(sample, names, 1.0)

    assert prepared.labels.shape[0] == 5
    unpacked = unpack_labels(prepared.labels, torch.arange(35)).bool().numpy()
    assert all(np.array_equal(unpacked[n], masks[name]) for n, name in enumerate(names))


def test_structures_that_are_not_learned_are_left_out() -> None:
    mask = np.ones((4, 4, 4), bool)
    sample = TrainingSample(
        np.zeros(mask.shape, np.int16), (1.0, 1.0, 1.0), {"liver": mask, "colon": mask}
    )

    assert prepare(sample, ("liver",), 1.0).annotated.tolist() == [0]


class Unloading(Mapping[str, np.ndarray]):
    """Masks that are made when asked for; counts how often, and how many are kept meanwhile."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.reads: list[str] = []
        self.alive: list[weakref.ref[np.ndarray]] = []
        self.most_alive = 0

    def __getitem__(self, name: str) -> np.ndarray:
        mask = np.ones((4, 4, 4), bool)
        self.reads.append(name)
        self.most_alive = max(self.most_alive, sum(one() is not None for one in self.alive))
        self.alive.append(weakref.ref(mask))
        return mask

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def test_masks_are_read_once_and_never_all_in_memory() -> None:
    names = ("spleen", "liver", "colon", "aorta", "stomach")
    masks = Unloading(names)
    sample = TrainingSample(np.zeros((4, 4, 4), np.int16), (1.0, 1.0, 1.0), masks)

    prepare(sample, names, 1.0)

    assert masks.reads == list(names)
    assert masks.most_alive == 0


def test_a_sample_taken_apart_comes_back() -> None:
    mask = cube(6, slice(1, 4), slice(2, 5), slice(0, 2))
    names = ("spleen", "liver", "colon")
    sample = TrainingSample(
        np.where(mask, 50, -80).astype(np.int16),
        (2.0, 2.0, 2.0),
        {"colon": mask, "spleen": np.zeros_like(mask)},
    )
    prepared = prepare(sample, names, 2.0, complete=False)

    arrays = sample_arrays(prepared)
    back = sample_from_arrays(arrays, weight=2.0, dataset="flare")

    assert (back.weight, back.dataset) == (2.0, "flare")
    assert torch.equal(back.image, prepared.image)
    assert torch.equal(back.labels, prepared.labels)
    assert back.annotated.tolist() == [0, 2]
    assert list(back.centres) == [2]
    assert torch.equal(back.centres[2], prepared.centres[2])
    assert back.image.data_ptr() == arrays["image"].ctypes.data
    # Two bytes a voxel for the image and one for up to eight annotated structures.
    assert back.nbytes == 3 * 6**3


def test_stored_arrays_of_another_type_are_refused() -> None:
    mask = cube(4, slice(1, 3), slice(1, 3), slice(1, 3))
    sample = TrainingSample(np.zeros((4, 4, 4), np.int16), (1.0, 1.0, 1.0), {"liver": mask})
    arrays = sample_arrays(prepare(sample, ("liver",), 1.0))

    with pytest.raises(ModelError, match="has image as float16 with 3 axes, got float32 with 3"):
        sample_from_arrays({**arrays, "image": arrays["image"].astype(np.float32)})
    with pytest.raises(ModelError, match="has labels as uint8 with 4 axes, got none"):
        sample_from_arrays({name: arrays[name] for name in arrays if name != "labels"})


def test_a_mask_of_another_shape_is_refused() -> None:
    sample = TrainingSample(
        np.zeros((4, 4, 4), np.int16), (1.0, 1.0, 1.0), {"liver": np.ones((4, 4, 5), bool)}
    )

    with pytest.raises(ModelError, match="liver of case 0"):
        prepare(sample, ("liver",), 1.0)
