"""The head whose last layers are written by a controller, once for each queried class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.head import Head, group_norm
from model.pointwise import pointwise

FEATURES = 8
PARAMETERS = 2 * FEATURES * FEATURES + FEATURES + 2 * FEATURES + 1
IMAGE_WIDTH = 256
# Hidden values of one block over all classes. On a CPU a block must stay in the cache: 1 to 4 MB
# were fastest, 32 MB took three times as long.
_BLOCK_VALUES_CPU = 2**19
_BLOCK_VALUES_GPU = 2**28


@dataclass(frozen=True, slots=True)
class ClassLayers:
    """The three 1x1x1 layers of every sample and class.

    Attributes:
        w1: Weights, shape (B, Q, 8 out, 8 in).
        w2: Weights, shape (B, Q, 8 out, 8 in).
        w3: Weights, shape (B, Q, 1, 8 in).
        b1: Biases, shape (B, Q, 8).
        b2: Biases, shape (B, Q, 8).
        b3: Biases, shape (B, Q, 1).
    """

    w1: Tensor
    w2: Tensor
    w3: Tensor
    b1: Tensor
    b2: Tensor
    b3: Tensor


class DynamicHead(Head):
    """Logits of each class from three small layers that depend on the image and the class.

    Source:
        Zhang et al. 2021 (DoDNet); Liu et al. 2023 (CLIP-driven universal model).
    """

    kind = "dynamic"

    def __init__(
        self, *, out_channels: int, bottleneck_channels: int, encoding_width: int = 256
    ) -> None:
        """Build the head.

        Args:
            out_channels: Channels of the decoder's output.
            bottleneck_channels: Channels of the bottleneck.
            encoding_width: Length of a class's encoding.
        """
        super().__init__()
        self.pool = nn.Sequential(
            group_norm(bottleneck_channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(bottleneck_channels, IMAGE_WIDTH),
        )
        self.norm = group_norm(out_channels)
        self.reduce = nn.Conv3d(out_channels, FEATURES, 1)
        self.controller = nn.Linear(IMAGE_WIDTH + encoding_width, PARAMETERS)

    def set_prior_in_place(self, logit: float) -> None:
        """Set the last bias that the controller writes for every class."""
        with torch.no_grad():
            self.controller.bias[-1] = logit

    def voxel_features(self, dec: Tensor) -> Tensor:
        """Return the 8 features of each voxel, shape (B, 8, I, J, K)."""
        return pointwise(self.reduce, torch.relu(self.norm(dec)))

    def classify(self, voxels: Tensor, bottleneck: Tensor, encodings: Tensor) -> Tensor:
        """Return logits (B, Q, I, J, K) for encodings (Q, E) of the queried classes."""
        image = self.pool(bottleneck)
        batch, queries = image.shape[0], encodings.shape[0]
        pairs = torch.cat(
            (
                image[:, None].expand(batch, queries, -1),
                encodings[None].to(image.dtype).expand(batch, queries, -1),
            ),
            dim=-1,
        )
        return apply_class_layers(voxels, split_parameters(self.controller(pairs)))


def split_parameters(parameters: Tensor) -> ClassLayers:
    """Split (B, Q, 153) controller outputs into layers.

    Order: first weights 64, second weights 64, third weights 8, biases 8, 8 and 1; weights are
    row-major (out, in).
    """
    batch, queries, _ = parameters.shape
    square = FEATURES * FEATURES
    sizes = (square, square, FEATURES, FEATURES, FEATURES, 1)
    w1, w2, w3, b1, b2, b3 = parameters.split(sizes, dim=-1)
    shape = (batch, queries, FEATURES, FEATURES)
    return ClassLayers(w1.reshape(shape), w2.reshape(shape), w3[:, :, None, :], b1, b2, b3)


def apply_class_layers(features: Tensor, layers: ClassLayers) -> Tensor:
    """Run every class's three layers over one shared feature map.

    The features are never copied per class: the first layer of all classes is one dense matrix,
    the other two are products batched over samples and classes. Voxels go through in blocks, so
    that hidden activations of all classes exist for one block at a time (when no gradient is
    needed).

    Args:
        features: Shape (B, 8, I, J, K).
        layers: The layers of Q classes.

    Returns:
        Logits, shape (B, Q, I, J, K).
    """
    batch, queries = layers.b3.shape[:2]
    flat = features.flatten(2)
    voxels = _block_voxels(features, pairs=batch * queries)
    blocks = [_logits_of_block(block, layers) for block in flat.split(voxels, dim=2)]
    logits = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)
    return logits.reshape(batch, queries, *features.shape[2:])


def _block_voxels(features: Tensor, *, pairs: int) -> int:
    values = _BLOCK_VALUES_CPU if features.device.type == "cpu" else _BLOCK_VALUES_GPU
    return max(256, values // (pairs * FEATURES))


def _logits_of_block(block: Tensor, layers: ClassLayers) -> Tensor:
    batch, queries = layers.b3.shape[:2]
    pairs = batch * queries
    first = torch.baddbmm(layers.b1.reshape(batch, -1, 1), layers.w1.flatten(1, 2), block).relu_()
    hidden = first.reshape(pairs, FEATURES, -1)
    second = torch.baddbmm(
        layers.b2.reshape(pairs, FEATURES, 1), layers.w2.flatten(0, 1), hidden
    ).relu_()
    third = torch.baddbmm(layers.b3.reshape(pairs, 1, 1), layers.w3.flatten(0, 1), second)
    return third.reshape(batch, queries, -1)
