"""Patches for training: aimed at structures, changed at random, with what is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from configs.errors import ConfigError
from model.augmentation import (
    AugmentationSettings,
    change_intensities,
    draw_transform,
    is_mirrored,
)
from model.patch_aim import AimPlan, SamplingSettings, aim_plan, aim_weights
from model.sides import mirrored_structures
from model.training_samples import PreparedSample, unpack_labels


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

    def to(self, device: torch.device) -> PatchTarget:
        """Return the target on a device."""
        return PatchTarget(
            self.structure_index.to(device),
            self.voxels.to(device, non_blocking=True),
            self.weight.to(device, non_blocking=True),
            self.target.to(device, non_blocking=True),
        )


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

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on a device; samples from files are drawn on the CPU."""
        images = self.images.to(device, non_blocking=True)
        return replace(
            self, images=images, targets=tuple(target.to(device) for target in self.targets)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSampler:
    """Draws patches.

    Attributes:
        samples: Where from.
        patch: Size in working voxels (I, J, K).
        background_share: Share of the voxels without any structure that gets a target.
        weights: How often each structure is aimed at relative to the others, shape (n,).
        augmentation: None for patches as they are.
        sampling: How datasets and structures share the patches.
        mirrored: What each structure is after mirroring, see ``model.sides``; needed where the
            augmentation mirrors.
        plan: Made from the rest.

    Raises:
        ConfigError: The augmentation mirrors, and ``mirrored`` is not given.
    """

    samples: Sequence[PreparedSample]
    patch: tuple[int, int, int]
    background_share: float
    weights: Tensor
    augmentation: AugmentationSettings | None
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    mirrored: Tensor | None = None
    plan: AimPlan = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mirrors = self.augmentation is not None and self.augmentation.mirror_share > 0
        if mirrors and self.mirrored is None:
            raise ConfigError(
                "mirroring needs to know the sides of the structures; make the sampler with "
                "patch_sampler, or set mirror_share to 0"
            )
        plan = aim_plan(self.samples, self.weights, self.sampling)
        object.__setattr__(self, "plan", plan)

    def draw(self, batch_size: int, generator: torch.Generator) -> TrainingBatch:
        """Return a batch.

        A case and one of its structures are drawn by the plan, then a place near one of the
        structure's voxels, or, for some, anywhere in the case.

        Args:
            batch_size: Number of patches.
            generator: On the CPU.
        """
        images, targets, names = [], [], []
        for _ in range(batch_size):
            number, structure = self.plan.draw(generator)
            image, target = self._patch(self.samples[number], structure, generator)
            images.append(image)
            targets.append(target)
            names.append(self.samples[number].case_id)
        return TrainingBatch(torch.stack(images)[:, None], tuple(targets), tuple(names))

    def _patch(
        self, sample: PreparedSample, structure: int | None, generator: torch.Generator
    ) -> tuple[Tensor, PatchTarget]:
        centre = self._centre(sample, structure, generator)
        transform = torch.eye(3)
        if self.augmentation is not None:
            transform = draw_transform(self.augmentation, generator)
        image, planes = read_patch(sample, self.patch, centre, transform)
        if self.augmentation is not None:
            image = change_intensities(image, self.augmentation, generator)
        index, positions = sample.annotated, torch.arange(len(sample.annotated))
        if self.mirrored is not None and is_mirrored(transform):
            index = self.mirrored[index]
            positions = (index >= 0).nonzero()[:, 0]
            index = index[positions]
        return image, self._target(planes, index, positions, generator)

    def _target(
        self, planes: Tensor, index: Tensor, positions: Tensor, generator: torch.Generator
    ) -> PatchTarget:
        device = planes.device
        packed = planes.flatten(1)
        foreground = torch.zeros(packed.shape[1], dtype=torch.bool, device=device)
        for plane in packed:
            foreground |= plane != 0
        lot = torch.rand(foreground.shape, generator=generator).to(device)
        voxels = (foreground | (lot < self.background_share)).nonzero()[:, 0]
        weight = torch.where(foreground[voxels], 1.0, 1.0 / self.background_share)
        target = unpack_labels(packed.index_select(1, voxels), positions)
        return PatchTarget(index.to(device), voxels, weight, target)

    def _centre(
        self, sample: PreparedSample, structure: int | None, generator: torch.Generator
    ) -> Tensor:
        size = torch.tensor(sample.image.shape, dtype=torch.float32)
        patch = torch.tensor(self.patch, dtype=torch.float32)
        anywhere = float(torch.rand((), generator=generator)) >= self.sampling.foreground
        if anywhere or structure is None:
            centre = torch.rand(3, generator=generator) * size
        else:
            voxels = sample.centres[structure]
            row = int(torch.randint(len(voxels), (), generator=generator))
            jitter = (torch.rand(3, generator=generator) - 0.5) * patch / 2
            centre = voxels[row] + 0.5 + jitter
        # Kept inside the volume where it is larger than the patch, else around its middle.
        low = torch.minimum(patch, size) / 2
        return torch.clamp(centre, min=low, max=torch.maximum(size - patch / 2, low))


def patch_sampler(
    samples: Sequence[PreparedSample],
    structures: Sequence[str],
    *,
    patch: tuple[int, int, int],
    background_share: float,
    augmentation: AugmentationSettings | None = None,
    sampling: SamplingSettings | None = None,
) -> PatchSampler:
    """Return a sampler whose weights and sides come from the taxonomy.

    Args:
        samples: Where from.
        structures: Names, in the order that the samples were prepared with.
        patch: See ``PatchSampler``.
        background_share: See ``PatchSampler``.
        augmentation: See ``PatchSampler``.
        sampling: None for the defaults.
    """
    sampling = sampling or SamplingSettings()
    return PatchSampler(
        samples=samples,
        patch=patch,
        background_share=background_share,
        weights=aim_weights(structures, sampling),
        augmentation=augmentation,
        sampling=sampling,
        mirrored=mirrored_structures(structures),
    )


def read_patch(
    sample: PreparedSample, patch: tuple[int, int, int], centre: Tensor, transform: Tensor
) -> tuple[Tensor, Tensor]:
    """Return intensities and packed labels of a patch; outside the volume both are 0.

    Where the transform only turns by quarters and mirrors, voxels are taken as they are and the
    patch moves to the next voxel corner; else intensities are interpolated linearly and labels are
    those of the nearest voxel.

    Args:
        sample: Where from.
        patch: Size in voxels.
        centre: Of the patch, in voxels from the volume's corner, shape (3,).
        transform: From offsets in the patch to offsets in the volume, shape (3, 3).

    Returns:
        float32, shape (I, J, K), and uint8, shape (P, I, J, K).
    """
    axes = transform.abs().argmax(dim=1)
    signs = transform.gather(1, axes[:, None])[:, 0]
    whole = torch.zeros(3, 3).scatter(1, axes[:, None], signs[:, None])
    if bool((signs.abs() == 1).all()) and torch.equal(whole, transform):
        box = _Box.around(patch, centre, axes.tolist(), signs.tolist())
        return box.read(sample.image[None])[0].float(), box.read(sample.labels)
    places = _places(patch, centre, transform).to(sample.image.device)
    return _read_image(sample.image, places), _read_labels(sample.labels, places)


@dataclass(frozen=True, slots=True)
class _Box:
    """A patch whose axes are the volume's, in another order or direction.

    Attributes:
        corner: First voxel along each axis of the volume; may lie outside.
        size: Voxels along each axis of the volume.
        order: Axis of the volume that each axis of the patch runs along.
        flipped: Axes of the volume that the patch runs along backwards.
    """

    corner: tuple[int, ...]
    size: tuple[int, ...]
    order: tuple[int, ...]
    flipped: tuple[int, ...]

    @classmethod
    def around(
        cls,
        patch: tuple[int, int, int],
        centre: Tensor,
        axes: Sequence[int],
        signs: Sequence[float],
    ) -> _Box:
        size = tuple(patch[axis] for axis in axes)
        corner = tuple(
            round(middle - n / 2) for middle, n in zip(centre.tolist(), size, strict=True)
        )
        order = tuple(list(axes).index(axis) for axis in range(3))
        flipped = tuple(axis for axis in range(3) if signs[axis] < 0)
        return cls(corner, size, order, flipped)

    def read(self, volume: Tensor) -> Tensor:
        """Return the box of a volume (C, I, J, K), shape (C, *patch), zero outside."""
        box = volume.new_zeros((volume.shape[0], *self.size))
        source, target = [slice(None)], [slice(None)]
        for first, size, length in zip(self.corner, self.size, volume.shape[1:], strict=True):
            start, stop = min(max(first, 0), length), max(min(first + size, length), 0)
            source.append(slice(start, max(start, stop)))
            target.append(slice(start - first, max(start, stop) - first))
        box[tuple(target)] = volume[tuple(source)]
        turned = box.flip([1 + axis for axis in self.flipped]) if self.flipped else box
        return turned.permute(0, *(1 + axis for axis in self.order)).contiguous()


def _places(patch: tuple[int, int, int], centre: Tensor, transform: Tensor) -> Tensor:
    """Return where each voxel of a patch is read, in voxels from the corner, shape (I, J, K, 3)."""
    i, j, k = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2 for size in patch)
    rows = i[:, None, None, None] * transform[:, 0] + centre
    return (rows + j[:, None, None] * transform[:, 1]) + k[:, None] * transform[:, 2]


def _read_image(image: Tensor, places: Tensor) -> Tensor:
    low, box = _cut(image[None], places)
    size = torch.tensor(box.shape[1:], device=places.device)
    # grid_sample counts from -1 to 1 between outer edges, last axis first.
    grid = (places * (2 / size) - (2 * low / size + 1)).flip(-1)
    return functional.grid_sample(
        box[None].float(), grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )[0, 0]


def _read_labels(planes: Tensor, places: Tensor) -> Tensor:
    low, box = _cut(planes, places)
    _, _, j, k = box.shape
    exact = torch.float32 if box[0].numel() < 2**24 else torch.float64
    strides = torch.tensor([j * k, k, 1], dtype=exact, device=places.device)
    flat = ((places - low).floor().to(exact).reshape(-1, 3) @ strides).long()
    return box.flatten(1).index_select(1, flat).reshape(-1, *places.shape[:3])


def _cut(volume: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return the corner and content of the box of a volume (C, I, J, K) around some places.

    The box reaches one voxel further than the places, and is 0 outside the volume.
    """
    i, j, k = (max(1, size - 1) for size in places.shape[:3])
    corners = places[::i, ::j, ::k]
    low = (corners.amin(dim=(0, 1, 2)) - 1).floor().long()
    high = (corners.amax(dim=(0, 1, 2)) + 2).ceil().long()
    box = _Box(tuple(low.tolist()), tuple((high - low).tolist()), (0, 1, 2), ())
    return low, box.read(volume)
