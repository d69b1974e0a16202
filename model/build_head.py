"""Heads by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from configs.errors import ModelError
from model.dynamic_head import DynamicHead
from model.head import Head
from model.query_dot_head import QueryDotHead

HEADS: Mapping[str, Callable[..., Head]] = {
    DynamicHead.kind: DynamicHead,
    QueryDotHead.kind: QueryDotHead,
}


def build_head(
    kind: str, *, out_channels: int, bottleneck_channels: int, encoding_width: int
) -> Head:
    """Return a new head with random weights; raises ModelError for an unknown kind."""
    if kind not in HEADS:
        raise ModelError(f"unknown head {kind!r}; known are {', '.join(sorted(HEADS))}")
    return HEADS[kind](
        out_channels=out_channels,
        bottleneck_channels=bottleneck_channels,
        encoding_width=encoding_width,
    )
