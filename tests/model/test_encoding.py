from __future__ import annotations

import hashlib
import math

import pytest
import torch

from configs.errors import ModelError
from model.encoding import Provenance, TextVectors, build_encoding

NAMES = ("spleen", "liver", "colon")


def vectors(rows: torch.Tensor, count: int = 3) -> TextVectors:
    return TextVectors.checked(rows, Provenance(source="test"), count=count)


@pytest.mark.parametrize(("kind", "width"), [("learned", 256), ("one_hot", 3), ("text", 256)])
def test_every_kind_gives_one_vector_a_structure(kind: str, width: int) -> None:
    text = vectors(torch.randn(3, 512)) if kind == "text" else None
    encoding = build_encoding(kind, NAMES, text)

    chosen = encoding(torch.tensor([2, 0]))

    assert encoding().shape == (3, width)
    assert encoding.width == width
    assert torch.equal(chosen, encoding()[[2, 0]])


def test_one_hot_vectors_are_axes() -> None:
    assert torch.equal(build_encoding("one_hot", NAMES)(), 16 * torch.eye(3))


def test_text_is_projected_and_only_the_projection_is_trained() -> None:
    text = vectors(torch.randn(3, 512))
    encoding = build_encoding("text", NAMES, text)

    trained = {name: tuple(weight.shape) for name, weight in encoding.named_parameters()}

    assert trained == {"project.weight": (256, 512), "project.bias": (256,)}
    assert torch.equal(encoding.state_dict()["vectors"], text.vectors)
    assert bool((encoding() >= 0).all())


@pytest.mark.parametrize("width", [8, 512])
def test_new_rows_have_the_norm_of_a_learned_table_and_lie_apart(width: int) -> None:
    torch.manual_seed(0)
    # As a text encoder's: nine tenths of every vector are shared, and nobody knows their length.
    rows = 0.01 * (3 * torch.randn(width) + torch.randn(32, width))
    names = tuple(f"structure {number}" for number in range(32))

    new = build_encoding("text", names, vectors(rows, count=32))().detach()

    directions = torch.nn.functional.normalize(new, dim=1)
    cosines = (directions @ directions.T)[~torch.eye(32, dtype=torch.bool)]
    assert float(new.square().sum(1).mean().sqrt()) == pytest.approx(16, rel=1e-4)
    # Rectified, independent directions have a cosine of 1 / pi.
    assert float(cosines.mean()) == pytest.approx(1 / math.pi, abs=0.06)
    assert float((rows / rows.norm(dim=1, keepdim=True))[:2].prod(0).sum()) > 0.8


def test_a_lone_structure_keeps_its_row() -> None:
    row = build_encoding("text", ("spleen",), vectors(torch.randn(1, 5), count=1))().detach()

    assert float(row.norm()) == pytest.approx(16, rel=1e-4)


def test_the_digest_is_that_of_the_little_endian_floats() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    expected = hashlib.sha256(bytes.fromhex("0000803f000000400000404000008040")).hexdigest()

    assert vectors(rows, count=2).provenance.sha256 == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.randn(2, 5), r"shape \(3, D\)"),
        (torch.randn(3), r"shape \(3, D\)"),
        (torch.full((3, 5), torch.nan), "finite"),
        (torch.ones(3, 5), "repeats a row"),
    ],
)
def test_unusable_vectors_are_refused(rows: torch.Tensor, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        vectors(rows)


def test_a_text_encoding_without_vectors_is_refused() -> None:
    with pytest.raises(ModelError, match="needs its vectors"):
        build_encoding("text", NAMES)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="known are learned, one_hot, text"):
        build_encoding("random", NAMES)
