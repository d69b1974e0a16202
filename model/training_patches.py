"""Patches for training: drawn evenly over cases and structures, foreground first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.augmentation import AugmentationSettings, change_intensities, draw_transform
from model.training_samples import PreparedSample, unpack_labels

_FOREGROUND = 0.85


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Patches and what is known about them.

    Attributes:
        images: Intensities in [0, 1], float32, shape (B, 1, I, J, K).
        structure_index: Structures annotated in any of the patches, int64, shape (Q,).
        target_grid: Voxels of the patch that the target covers, along (I, J, K).
        target: 0 or 1 on that grid, uint8, shape (B, Q, i, j, k).
        mask: Whether a structure is annotated in a patch, bool, shape (B, Q).
    """

    images: Tensor
    structure_index: Tensor
    target_grid: tuple[slice, slice, slice]
    target: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSampler:
    """Draws patches.

    Attributes:
        samples: Where from.
        patch: Size in working voxels (I, J, K).
        target_stride: Every n-th voxel along each axis, from a random start, gets a target.
        weights: How often each structure is aimed at relative to the others, shape (n,).
        augmentation: None for patches as they are.
    """

    samples: Sequence[PreparedSample]
    patch: tuple[int, int, int]
    target_stride: int
    weights: Tensor
    augmentation: AugmentationSettings | None

    def draw(self, batch_size: int, generator: torch.Generator) -> TrainingBatch:
        """Return a batch.

        A case is drawn evenly, then one of its present structures by weight, then a place near one
        of its voxels; one patch in seven lies anywhere.

        Args:
            batch_size: Number of patches.
            generator: On the CPU.
        """
        chosen = torch.randint(len(self.samples), (batch_size,), generator=generator).tolist()
        samples = [self.samples[number] for number in chosen]
        device = samples[0].image.device
        index = torch.unique(torch.cat([sample.annotated for sample in samples]))
        grid = self._target_grid(generator)
        images, targets = [], []
        for sample in samples:
            image, words = self._patch(sample, grid, generator)
            images.append(image)
            targets.append(unpack_labels(words, index.to(device)))
        known = torch.stack([torch.isin(index, sample.annotated) for sample in samples])
        return TrainingBatch(
            images=torch.stack(images)[:, None],
            structure_index=index.to(device),
            target_grid=grid,
            target=torch.stack(targets),
            mask=known.to(device),
        )

    def _target_grid(self, generator: torch.Generator) -> tuple[slice, slice, slice]:
        step = self.target_stride
        i, j, k = torch.randint(step, (3,), generator=generator).tolist()
        return slice(i, None, step), slice(j, None, step), slice(k, None, step)

    def _patch(
        self,
        sample: PreparedSample,
        grid: tuple[slice, slice, slice],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        centre = self._centre(sample, generator)
        transform = torch.eye(3)
        if self.augmentation is not None:
            transform = draw_transform(self.augmentation, generator)
        places = _places(self.patch, centre, transform).to(sample.image.device)
        image = _read_image(sample.image, places)
        if self.augmentation is not None:
            image = change_intensities(image, self.augmentation, generator)
        return image, _read_labels(sample.labels, places[grid])

    def _centre(self, sample: PreparedSample, generator: torch.Generator) -> Tensor:
        size = torch.tensor(sample.image.shape, dtype=torch.float32)
        patch = torch.tensor(self.patch, dtype=torch.float32)
        anywhere = float(torch.rand((), generator=generator)) >= _FOREGROUND
        if anywhere or not sample.centres:
            centre = torch.rand(3, generator=generator) * size
        else:
            numbers = list(sample.centres)
            weights = self.weights[numbers]
            number = numbers[int(torch.multinomial(weights, 1, generator=generator))]
            voxels = sample.centres[number]
            row = int(torch.randint(len(voxels), (), generator=generator))
            jitter = (torch.rand(3, generator=generator) - 0.5) * patch / 2
            centre = voxels[row] + 0.5 + jitter
        # Kept inside the volume where it is larger than the patch, else around its middle.
        low = torch.minimum(patch, size) / 2
        return torch.clamp(centre, min=low, max=torch.maximum(size - patch / 2, low))


def _places(patch: tuple[int, int, int], centre: Tensor, transform: Tensor) -> Tensor:
    """Return where each voxel of a patch is read, in voxels from the corner, shape (I, J, K, 3)."""
    axes = [torch.arange(size, dtype=torch.float32) - (size - 1) / 2 for size in patch]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return offsets @ transform.T + centre


def _read_image(image: Tensor, places: Tensor) -> Tensor:
    low = (places.amin(dim=(0, 1, 2)) - 1).floor().clamp_min(0).long()
    high = (places.amax(dim=(0, 1, 2)) + 2).ceil().long()
    box = image[low[0] : high[0], low[1] : high[1], low[2] : high[2]].float()
    size = torch.tensor(box.shape, device=places.device)
    # grid_sample counts from -1 to 1 between outer edges, last axis first.
    grid = (2 * (places - low) / size - 1).flip(-1)
    return functional.grid_sample(
        box[None, None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )[0, 0]


def _read_labels(words: Tensor, places: Tensor) -> Tensor:
    size = torch.tensor(words.shape[1:], device=places.device)
    voxel = places.floor().long()
    outside = ((voxel < 0) | (voxel >= size)).any(dim=-1)
    voxel = voxel.clamp_min(0).minimum(size - 1)
    flat = (voxel[..., 0] * size[1] + voxel[..., 1]) * size[2] + voxel[..., 2]
    return words.flatten(1)[:, flat].masked_fill(outside, 0)
