"""The universal network: one backbone, one head, any of its structures on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from configs.errors import ModelError
from model.backbone import Backbone
from model.build_backbone import build_backbone
from model.build_head import build_head
from model.encoding import ClassEncoding, TextVectors, build_encoding
from model.head import Head


class UniversalNetwork(nn.Module):
    """Logits of the queried structures, one against all for each.

    Attributes:
        backbone: Turns images into features.
        head: Turns features and class encodings into logits.
        encoding: A vector for each structure.
        structures: Names of the structures, in the order of the encoding.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        encoding: ClassEncoding,
        structures: Sequence[str],
    ) -> None:
        super().__init__()
        if len(set(structures)) != len(structures) or not structures:
            raise ModelError(f"structures must be one or more unique names, got {structures}")
        self.backbone = backbone
        self.head = head
        self.encoding = encoding
        self.structures = tuple(structures)

    def forward(self, images: Tensor, structure_index: Tensor | None = None) -> Tensor:
        """Return logits, without sigmoid.

        Args:
            images: Windowed intensities in [0, 1], shape (B, 1, I, J, K).
            structure_index: Positions in ``structures`` that are asked for, int64, shape (Q,);
                all when None.

        Returns:
            Logits, shape (B, Q, I, J, K).
        """
        return self.head(self.backbone(images), self.encoding(structure_index))


def build_network(
    backbone: str,
    backbone_options: Mapping[str, Any],
    *,
    encoding: str,
    structures: Sequence[str],
    text: TextVectors | None = None,
    head: str = "dynamic",
) -> UniversalNetwork:
    """Return a universal network with random weights.

    Raises:
        ModelError: A name or an option is unknown, or text vectors are missing.
    """
    body = build_backbone(backbone, **backbone_options)
    class_encoding = build_encoding(encoding, structures, text)
    top = build_head(
        head,
        out_channels=body.out_channels,
        bottleneck_channels=body.bottleneck_channels,
        encoding_width=class_encoding.width,
    )
    return UniversalNetwork(body, top, class_encoding, structures)
