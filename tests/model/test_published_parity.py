"""The published networks written out from their description, against ours with the same weights.

The arithmetic here uses no layer of the product and none of MONAI: single convolutions, norms and
matrix products by the names of the published files. Patches go through alone, as the published
U-Net's norm takes the statistics of its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.published_layout import published_name
from model.published_weights import import_published
from model.universal import build_network

NAMES = tuple(f"structure {number}" for number in range(32))
# Which voxel of a 2 x 2 x 2 cube goes into each of the eight slots.
SLOTS = ("000", "100", "010", "001", "101", "010", "001", "111")

State = Mapping[str, Tensor]


def test_the_unet_with_its_head_gives_the_published_logits(
    published_state: Callable[..., dict[str, Tensor]],
) -> None:
    for encoding in ("text", "learned"):
        state = published_state("unet", 8, encoding=encoding)
        images = torch.rand(2, 1, 16, 24, 16, generator=torch.Generator().manual_seed(1))

        ours = import_published(state, NAMES).network

        assert_parity(ours, state, images, unet_features)


def test_the_swin_unetr_with_its_head_gives_the_published_logits(
    published_state: Callable[..., dict[str, Tensor]],
) -> None:
    state = published_state("swin_unetr", 12)
    flat = {f"module.{name.removeprefix('backbone.')}": w for name, w in state.items()}
    images = torch.rand(1, 1, 64, 32, 32, generator=torch.Generator().manual_seed(1))

    ours = import_published(flat, NAMES).network

    theirs = assert_parity(ours, state, images, swin_features)
    block = "backbone.swinViT.layers4.0.blocks.1."
    names = {f"{block}norm1.{kind}": f"{block}norm2.{kind}" for kind in ("weight", "bias")}
    names |= {other: name for name, other in names.items()}
    swapped = {name: state[names.get(name, name)] for name in state}
    with torch.inference_mode():
        otherwise = import_published(swapped, NAMES).network(images)
    assert (otherwise - theirs).abs().max() > 10 * gate(theirs)


@pytest.mark.parametrize("backbone", ["unet", "swin_unetr"])
def test_no_vector_of_the_files_made_here_is_at_its_default_or_twice_there(
    published_state: Callable[..., dict[str, Tensor]], backbone: str
) -> None:
    vectors = [w for w in published_state(backbone, 12).values() if w.dim() == 1]

    assert not any((w - w.round()).abs().max() < 0.01 for w in vectors)
    assert len({w.sum().item() for w in vectors}) == len(vectors)


def test_every_vector_of_parameters_acts_where_the_description_says(
    published_state: Callable[..., dict[str, Tensor]],
) -> None:
    """Each in turn is moved on, so that two that were swapped would show.

    Instance norm takes away the bias of the convolution before it, so that those move nothing.
    """
    state = published_state("unet", 2)
    images = torch.rand(1, 1, 16, 16, 8, generator=torch.Generator().manual_seed(1))
    before = published_logits(state, images, unet_features)
    vectors = [name for name, w in state.items() if w.dim() == 1 and "running" not in name]

    for name in vectors:
        moved = {**state, name: state[name] + torch.linspace(0.5, 1.5, len(state[name]))}
        with torch.inference_mode():
            ours = import_published(moved, NAMES).network(images)
        assert_close_logits(ours, published_logits(moved, images, unet_features))
        assert ((ours - before).abs().max() > 1e-3) != name.endswith("conv1.bias"), name


@pytest.mark.parametrize(
    ("backbone", "prefix"),
    [("unet", ""), ("unet", "module."), ("unet", "model."), ("swin_unetr", "module.")],
)
@pytest.mark.parametrize("encoding", ["text", "learned"])
@pytest.mark.parametrize("layout", ["nested", "flat"])
def test_every_tensor_reaches_its_place_from_every_layout(
    published_state: Callable[..., dict[str, Tensor]],
    backbone: str,
    encoding: str,
    prefix: str,
    layout: str,
) -> None:
    state = published_state(backbone, 12 if backbone == "swin_unetr" else 2, encoding=encoding)
    within = "backbone." if layout == "flat" else ""
    file = {prefix + name.removeprefix(within): tensor for name, tensor in state.items()}

    imported = import_published(file, NAMES)

    assert (imported.report.layout, imported.report.encoding) == (layout, encoding)
    for name, tensor in imported.network.state_dict().items():
        assert torch.equal(tensor.flatten(), state[published_name(name)].flatten()), name


def test_the_names_of_the_published_swin_unetr_are_all_there(
    published_state: Callable[..., dict[str, Tensor]],
) -> None:
    for encoding, count in (("text", 170), ("learned", 168)):
        file = published_state("swin_unetr", 12, encoding=encoding)

        network = import_published(file, NAMES).network

        assert len(file) == count
        assert {published_name(name) for name in network.state_dict()} == set(file)


def test_the_names_of_the_published_unet_are_all_there_but_for_statistics_never_read(
    published_state: Callable[..., dict[str, Tensor]],
) -> None:
    for encoding, count in (("text", 117), ("learned", 115)):
        file = published_state("unet", 2, encoding=encoding)

        imported = import_published(file, NAMES)

        assert len(file) == count
        names = {published_name(name) for name in imported.network.state_dict()}
        assert names | set(imported.report.not_needed) == set(file)
        assert len(imported.report.not_needed) == 14 * 3
        assert imported.report.matched == count - 14 * 3


@pytest.mark.parametrize(("backbone", "width"), [("unet", 32), ("swin_unetr", 48)])
def test_the_published_sizes_are_the_defaults_of_our_backbones(
    published_state: Callable[..., dict[str, Tensor]], backbone: str, width: int
) -> None:
    file = published_state(backbone, width, encoding="learned", values=False)

    network = build_network(backbone, {}, encoding="learned", structures=NAMES)

    ours = {published_name(name): tuple(w.shape) for name, w in network.state_dict().items()}
    assert ours == {
        name: tuple(w.shape[:2] if name in ("GAP.3.weight", "controller.weight") else w.shape)
        for name, w in file.items()
        if name in ours
    }


def assert_parity(
    network: torch.nn.Module,
    state: State,
    images: Tensor,
    features: Callable[[State, Tensor], tuple[Tensor, Tensor]],
) -> Tensor:
    with torch.inference_mode():
        ours = network(images)
    theirs = torch.cat([published_logits(state, image[None], features) for image in images])
    assert_close_logits(ours, theirs)
    return theirs


def assert_close_logits(ours: Tensor, theirs: Tensor) -> None:
    """The gate, and equal signs in more than 99.99 % of the voxels."""
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.01
    assert (ours - theirs).abs().max() <= gate(theirs)
    assert ((ours > 0) == (theirs > 0)).float().mean() > 0.9999


def gate(theirs: Tensor) -> float:
    """1e-4 of the largest logit."""
    return 1e-4 * max(1.0, float(theirs.abs().max()))


@torch.inference_mode()
def published_logits(
    state: State, image: Tensor, features: Callable[[State, Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Head of the description: class by class, layer by layer, voxel by voxel."""
    backbone = {n.removeprefix("backbone."): w for n, w in state.items() if "backbone." in n}
    coarse, fine = features(backbone, image)
    pooled = group_norm(coarse, state["GAP.0.weight"], state["GAP.0.bias"]).relu().mean((2, 3, 4))
    pooled = state["GAP.3.weight"].flatten(1) @ pooled[0] + state["GAP.3.bias"]
    voxels = group_norm(fine, state["precls_conv.0.weight"], state["precls_conv.0.bias"]).relu()
    reduce = state["precls_conv.2.weight"].flatten(1)
    voxels = reduce @ voxels[0].flatten(1) + state["precls_conv.2.bias"][:, None]
    if "organ_embedding.weight" in state:
        classes = state["organ_embedding.weight"]
    else:
        projected = state["organ_embedding"] @ state["text_to_vision.weight"].T
        classes = (projected + state["text_to_vision.bias"]).relu()
    logits = []
    for code in classes:
        theta = state["controller.weight"].flatten(1) @ torch.cat((pooled, code))
        theta = theta + state["controller.bias"]
        first = (theta[0:64].reshape(8, 8) @ voxels + theta[136:144, None]).relu()
        second = (theta[64:128].reshape(8, 8) @ first + theta[144:152, None]).relu()
        logits.append(theta[128:136] @ second + theta[152])
    return torch.stack(logits).reshape(1, len(classes), *image.shape[2:])


def group_norm(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """16 groups, or as many as divide the channels too."""
    channels = features.shape[1]
    groups = max(n for n in (1, 2, 4, 8, 16) if channels % n == 0)
    grouped = features.reshape(groups, -1)
    mean = grouped.mean(1, keepdim=True)
    variance = ((grouped - mean) ** 2).mean(1, keepdim=True)
    normal = ((grouped - mean) / (variance + 1e-5).sqrt()).reshape(features.shape)
    return normal * weight[:, None, None, None] + bias[:, None, None, None]


def unet_features(state: State, image: Tensor) -> tuple[Tensor, Tensor]:
    def block(name: str, features: Tensor) -> Tensor:
        weight, bias = state[f"{name}.conv1.weight"], state[f"{name}.conv1.bias"]
        features = functional.conv3d(features, weight, bias, padding=1)
        scale, shift = state[f"{name}.bn1.weight"], state[f"{name}.bn1.bias"]
        return functional.batch_norm(features, None, None, scale, shift, training=True).relu()

    skips = []
    features = image
    for level in (64, 128, 256, 512):
        features = block(f"down_tr{level}.ops.1", block(f"down_tr{level}.ops.0", features))
        skips.append(features)
        features = functional.max_pool3d(features, 2) if level < 512 else features
    bottleneck = features
    for level, skip in zip((256, 128, 64), skips[2::-1], strict=True):
        up = f"up_tr{level}.up_conv"
        features = functional.conv_transpose3d(
            features, state[f"{up}.weight"], state[f"{up}.bias"], stride=2
        )
        features = torch.cat((features, skip), dim=1)
        features = block(f"up_tr{level}.ops.1", block(f"up_tr{level}.ops.0", features))
    return bottleneck, features


def swin_features(state: State, image: Tensor) -> tuple[Tensor, Tensor]:
    patches = functional.conv3d(
        image,
        state["swinViT.patch_embed.proj.weight"],
        state["swinViT.patch_embed.proj.bias"],
        stride=2,
    )
    tokens = patches[0].permute(1, 2, 3, 0)
    hidden = [channels_first(tokens)]
    for stage in (1, 2, 3, 4):
        layer = f"swinViT.layers{stage}.0"
        for block, shift in ((f"{layer}.blocks.0", 0), (f"{layer}.blocks.1", 3)):
            tokens = swin_block(state, block, tokens, shift)
        tokens = merged(state, f"{layer}.downsample", tokens)
        hidden.append(channels_first(tokens))
    bottleneck = residual(state, "encoder10.layer", hidden[4])
    features = lifted(state, 5, bottleneck, hidden[3])
    for number, encoder, level in ((4, "encoder4", 2), (3, "encoder3", 1), (2, "encoder2", 0)):
        skip = residual(state, f"{encoder}.layer", hidden[level])
        features = lifted(state, number, features, skip)
    return bottleneck, lifted(state, 1, features, residual(state, "encoder1.layer", image))


def channels_first(tokens: Tensor) -> Tensor:
    normal = functional.layer_norm(tokens, tokens.shape[-1:])
    return normal.permute(3, 0, 1, 2)[None]


def merged(state: State, name: str, tokens: Tensor) -> Tensor:
    slots = [tokens[int(i) :: 2, int(j) :: 2, int(k) :: 2] for i, j, k in SLOTS]
    normal = norm(state, f"{name}.norm", torch.cat(slots, dim=-1))
    return normal @ state[f"{name}.reduction.weight"].T


def norm(state: State, name: str, tokens: Tensor) -> Tensor:
    scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.layer_norm(tokens, tokens.shape[-1:], scale, shift)


def linear(state: State, name: str, tokens: Tensor) -> Tensor:
    return tokens @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def swin_block(state: State, name: str, tokens: Tensor, shift: int) -> Tensor:
    tokens = tokens + window_attention(state, name, tokens, shift)
    hidden = linear(state, f"{name}.mlp.linear1", norm(state, f"{name}.norm2", tokens))
    return tokens + linear(state, f"{name}.mlp.linear2", functional.gelu(hidden))


def window_attention(state: State, name: str, tokens: Tensor, shift: int) -> Tensor:
    """Windows of 7, or of the whole axis where it is shorter, which is then not shifted."""
    size = tokens.shape[:3]
    window = [min(7, length) for length in size]
    shifts = [shift if length > 7 else 0 for length in size]
    counts = [-(-length // edge) for length, edge in zip(size, window, strict=True)]
    padded = torch.zeros(*(n * w for n, w in zip(counts, window, strict=True)), tokens.shape[3])
    padded[: size[0], : size[1], : size[2]] = norm(state, f"{name}.norm1", tokens)
    padded = padded.roll([-s for s in shifts], (0, 1, 2))
    region = torch.stack(torch.meshgrid(*map(regions, padded.shape, window, shifts), indexing="ij"))
    bias = relative_bias(state, f"{name}.attn", window[0] * window[1] * window[2])
    result = torch.empty_like(padded)
    for i, j, k in torch.cartesian_prod(*map(torch.arange, counts)).tolist():
        part = tuple(slice(n * w, n * w + w) for n, w in zip((i, j, k), window, strict=True))
        inside = padded[part].flatten(0, 2)
        where = region[:, part[0], part[1], part[2]].flatten(1)
        apart = (where[:, :, None] != where[:, None]).any(0)
        result[part] = attention(state, f"{name}.attn", inside, bias - 100.0 * apart).reshape(
            padded[part].shape
        )
    result = result.roll(shifts, (0, 1, 2))
    return result[: size[0], : size[1], : size[2]]


def regions(length: int, window: int, shift: int) -> Tensor:
    """Which of an axis's places were neighbours before it was rolled."""
    index = torch.arange(length)
    if shift == 0:
        return torch.zeros_like(index)
    return (index >= length - window).long() + (index >= length - shift).long()


def relative_bias(state: State, name: str, count: int) -> Tensor:
    """Per head and pair of tokens; smaller windows read the places of a window of 7 in order."""
    places = torch.cartesian_prod(*(torch.arange(7),) * 3)[:count]
    offsets = (places[:, None] - places[None] + 6) @ torch.tensor([169, 13, 1])
    return state[f"{name}.relative_position_bias_table"][offsets].permute(2, 0, 1)


def attention(state: State, name: str, tokens: Tensor, bias: Tensor) -> Tensor:
    count, channels = tokens.shape
    heads = len(bias)
    parts = linear(state, f"{name}.qkv", tokens).reshape(count, 3, heads, -1)
    result = []
    for head in range(heads):
        query, key, value = (parts[:, part, head] for part in range(3))
        scores = query @ key.T / (channels // heads) ** 0.5 + bias[head]
        result.append(scores.softmax(dim=1) @ value)
    return linear(state, f"{name}.proj", torch.cat(result, dim=1))


def residual(state: State, name: str, features: Tensor) -> Tensor:
    def convolved(number: int, values: Tensor) -> Tensor:
        weight = state[f"{name}.conv{number}.conv.weight"]
        return functional.instance_norm(
            functional.conv3d(values, weight, padding=weight.shape[2] // 2)
        )

    through = convolved(2, functional.leaky_relu(convolved(1, features), 0.01))
    beside = convolved(3, features) if f"{name}.conv3.conv.weight" in state else features
    return functional.leaky_relu(through + beside, 0.01)


def lifted(state: State, number: int, features: Tensor, skip: Tensor) -> Tensor:
    weight = state[f"decoder{number}.transp_conv.conv.weight"]
    up = functional.conv_transpose3d(features, weight, stride=2)
    return residual(state, f"decoder{number}.conv_block", torch.cat((up, skip), dim=1))
