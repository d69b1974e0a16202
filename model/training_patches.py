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
class PatchTarget:
    """What is known about some voxels of one patch.

    Every voxel of any annotated structure is there, and a random share of the others, which weigh
    the inverse of that share: small structures are seen whole at a fraction of the cost.

    Attributes:
        structure_index: Annotated structures, int64, shape (Q,).
        voxels: Flat positions in the patch, C order, int64, shape (n,).
        weight: Voxels that each one stands for, float32, shape (n,).
        target: 0 or 1, uint8, shape (Q, n).
    """

    structure_index: Tensor
    voxels: Tensor
    weight: Tensor
    target: Tensor


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Patches and what is known about them.

    Attributes:
        images: Intensities in [0, 1], float32, shape (B, 1, I, J, K).
        targets: One a patch.
        case_ids: Where each patch comes from.
    """

    images: Tensor
    targets: tuple[PatchTarget, ...]
    case_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSampler:
    """Draws patches.

    Attributes:
        samples: Where from.
        patch: Size in working voxels (I, J, K).
        background_share: Share of the voxels without any structure that gets a target.
        weights: How often each structure is aimed at relative to the others, shape (n,).
        augmentation: None for patches as they are.
    """

    samples: Sequence[PreparedSample]
    patch: tuple[int, int, int]
    background_share: float
    weights: Tensor
    augmentation: AugmentationSettings | None

    def draw(self, batch_size: int, generator: torch.Generator) -> TrainingBatch:
        """Return a batch.

        A case is drawn by weight, then one of its present structures by weight, then a place near
        one of its voxels; one patch in seven lies anywhere.

        Args:
            batch_size: Number of patches.
            generator: On the CPU.
        """
        shares = torch.tensor([sample.weight for sample in self.samples])
        chosen = torch.multinomial(
            shares, batch_size, replacement=True, generator=generator
        ).tolist()
        images, targets = [], []
        for number in chosen:
            sample = self.samples[number]
            image, words = self._patch(sample, generator)
            images.append(image)
            targets.append(self._target(sample, words, generator))
        names = tuple(self.samples[number].case_id for number in chosen)
        return TrainingBatch(torch.stack(images)[:, None], tuple(targets), names)

    def _target(
        self, sample: PreparedSample, words: Tensor, generator: torch.Generator
    ) -> PatchTarget:
        device = words.device
        index = sample.annotated.to(device)
        packed = words.flatten(1)
        foreground = (packed != 0).any(dim=0)
        lot = torch.rand(foreground.shape, generator=generator).to(device)
        voxels = (foreground | (lot < self.background_share)).nonzero()[:, 0]
        weight = torch.where(foreground[voxels], 1.0, 1.0 / self.background_share)
        return PatchTarget(index, voxels, weight, unpack_labels(packed[:, voxels], index))

    def _patch(self, sample: PreparedSample, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        centre = self._centre(sample, generator)
        transform = torch.eye(3)
        if self.augmentation is not None:
            transform = draw_transform(self.augmentation, generator)
        places = _places(self.patch, centre, transform).to(sample.image.device)
        image = _read_image(sample.image, places)
        if self.augmentation is not None:
            image = change_intensities(image, self.augmentation, generator)
        return image, _read_labels(sample.labels, places)

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
