import pytest
import torch

from configs.errors import ModelError
from configs.taxonomy import load_taxonomy
from model.anatomy_encoding import anatomy_vectors
from model.encoding import Provenance, TextVectors
from model.extend_network import extend_network
from model.structure_vectors import StructureVectors
from model.universal import build_network

OLD, NEW = ("liver", "spleen", "kidney_left"), ("colon", "kidney_right")
TAXONOMY = load_taxonomy()
VECTORS = StructureVectors(TAXONOMY.names, anatomy_vectors(TAXONOMY, TAXONOMY.names))


def network_of(encoding, head, names=OLD):
    torch.manual_seed(0)
    text = VECTORS.rows_of(names) if encoding == "text" else None
    options = {"widths": (16, 16), "out_channels": 16}
    return build_network(
        "small_unet", options, encoding=encoding, structures=names, text=text, head=head
    ).eval()


@pytest.mark.parametrize("encoding", ["learned", "one_hot", "text"])
@pytest.mark.parametrize("head", ["dynamic", "query_dot"])
def test_old_structures_answer_as_before(encoding, head):
    network = network_of(encoding, head)
    images = torch.rand(1, 1, 16, 16, 16)

    extended = extend_network(network, NEW, vectors=VECTORS if encoding == "text" else None)

    assert extended.structures == (*OLD, *NEW)
    with torch.inference_mode():
        before, after = network(images), extended(images)
    torch.testing.assert_close(after[:, :3], before, rtol=1e-5, atol=1e-5)
    assert after.shape[1] == 5
    assert len({channel.sum().item() for channel in after[0]}) == 5
    rows = (network.encoding(), extended.encoding())
    assert torch.equal(rows[1][:3, : rows[0].shape[1]], rows[0])


def test_fixed_rows_are_kept_bit_by_bit_and_the_new_ones_come_from_the_vectors():
    network = network_of("text", "dynamic")
    # As another machine might have rounded them.
    rounded = TextVectors.checked(
        VECTORS.text.vectors * 1.0001, VECTORS.text.provenance, count=len(TAXONOMY.names)
    )

    vectors = StructureVectors(VECTORS.structures, rounded)
    extended = extend_network(network, NEW, vectors=vectors).encoding

    assert torch.equal(extended.vectors[:3], network.encoding.vectors)
    assert torch.equal(extended.vectors[3:], vectors.rows_of(NEW).vectors)
    assert extended.provenance.source == "anatomy 1"
    assert extended.provenance.sha256 != network.encoding.provenance.sha256


def made_up(names, width=512):
    rows = torch.randn(len(names), width)
    text = TextVectors.checked(rows, Provenance(source="elsewhere"), count=len(names))
    return StructureVectors(tuple(names), text)


@pytest.mark.parametrize(
    ("added", "vectors", "message"),
    [
        (("liver",), VECTORS, r"lacks, got \['liver'\]"),
        ((), VECTORS, "got none"),
        (NEW, None, "name a stored encoding from there"),
        (NEW, made_up((*OLD, *NEW)), "trained with other vectors of liver"),
        (NEW, made_up((*OLD, *NEW), width=8), "have 512 components, those from elsewhere 8"),
        (NEW, made_up(NEW), "nobody can tell"),
        (("uterus",), VECTORS, "no row for uterus"),
    ],
)
def test_rows_of_another_origin_are_refused(added, vectors, message):
    with pytest.raises(ModelError, match=message):
        extend_network(network_of("text", "dynamic"), added, vectors=vectors)
