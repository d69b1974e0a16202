"""Named ways to cut a volume into windows; a setting of its own goes before its profile's."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

ProfileName = Literal["weights", "reference", "abdomenatlas"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceProfile:
    """How a volume is cut into windows; None keeps what the weights came with.

    Attributes:
        window: Size in voxels of the working grid.
        overlap: Share of a window that the next one covers again.
        blending: How windows count where they overlap.
        body_only: Leave out windows without body.
    """

    window: tuple[int, int, int] | None = None
    overlap: float | None = None
    blending: Literal["gaussian", "uniform"] = "gaussian"
    body_only: bool = True


PROFILES = MappingProxyType(
    {
        "weights": InferenceProfile(),
        # The CLIP-driven universal model's own inference, and AbdomenAtlas'.
        "reference": InferenceProfile(window=(96, 96, 96), overlap=0.5, body_only=False),
        "abdomenatlas": InferenceProfile(window=(96, 96, 96), overlap=0.75, body_only=False),
    }
)
