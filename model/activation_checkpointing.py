"""Less memory for more arithmetic: activations that the backward pass computes again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from torch import nn
from torch.utils.checkpoint import checkpoint

from model.backbone import Backbone

Forward = Callable[..., Any]


@contextmanager
def checkpointed(backbone: Backbone, *, enabled: bool = True) -> Iterator[None]:
    """Keep only the inputs of the backbone's blocks while its forward pass runs.

    The backward pass runs each block again, one after another, so that at most one block's
    activations exist at a time. Names and values of weights stay as they are, and so do the
    gradients; a step takes about a third longer.

    Args:
        backbone: Any; its blocks are found by ``blocks_of``.
        enabled: Else nothing changes.

    Source:
        Chen et al. 2016 (sublinear memory cost).
    """
    blocks = blocks_of(backbone) if enabled else []
    plain = [cast(Forward, block.forward) for block in blocks]
    for block, forward in zip(blocks, plain, strict=True):
        block.forward = partial(checkpoint, forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            # The instance's own forward hid the class's.
            del block.forward


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the largest submodules that are called as one: children, and those of bare lists.

    A backbone that only wraps another network is looked through.
    """
    children = list(backbone.children())
    if len(children) == 1 and not isinstance(children[0], nn.ModuleList):
        return blocks_of(children[0])
    blocks: list[nn.Module] = []
    for child in children:
        if isinstance(child, nn.ModuleList):
            blocks.extend(child)
        else:
            blocks.append(child)
    return [block for block in blocks if any(True for _ in block.parameters())]
