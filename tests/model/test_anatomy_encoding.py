import hashlib
import math

import numpy as np
import pytest

from configs.taxonomy import Structure, Taxonomy, load_taxonomy
from model.anatomy_encoding import anatomy_vectors
from model.structure_vectors import cosine_similarities

TAXONOMY = load_taxonomy()


def made_of(*structures, **groups):
    plain = {"group": "organ", "rgb": (0, 0, 0), "volume_ml": (1, 2)}
    return Taxonomy(
        version=1,
        same_anatomy=groups,
        structures=tuple(Structure(**{"display": s["name"], **plain, **s}) for s in structures),
    )


def similarities(taxonomy=TAXONOMY):
    return cosine_similarities(anatomy_vectors(taxonomy, taxonomy.names))


def test_rows_are_independent_and_far_from_one_another():
    rows = anatomy_vectors(TAXONOMY, TAXONOMY.names).vectors.numpy().astype(np.float64)
    gaps = np.linalg.norm(rows[:, None] - rows[None], axis=2)[~np.eye(len(rows), dtype=bool)]

    assert rows.shape == (32, 512)
    assert np.linalg.matrix_rank(rows) == 32
    assert np.linalg.cond(rows) < 10
    assert gaps.min() > 0.5 * math.sqrt(512)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), math.sqrt(512), rtol=1e-6)


@pytest.mark.parametrize(
    "structure", [s for s in TAXONOMY.structures if s.side], ids=lambda s: s.name
)
def test_a_side_is_most_like_its_partner_and_not_the_same(structure):
    row = similarities()[TAXONOMY.names.index(structure.name)]
    nearest, next_one = np.argsort(-row)[1:3]

    assert TAXONOMY.structures[nearest].unsided_name == structure.unsided_name
    assert 0.8 > row[nearest] > row[next_one] + 0.1


def test_lesions_lean_toward_their_organ():
    matrix, names = similarities(), TAXONOMY.names
    organs = [s.name for s in TAXONOMY.structures if not s.is_lesion]
    for lesion in (s for s in TAXONOMY.structures if s.is_lesion):
        row = {name: matrix[names.index(lesion.name), names.index(name)] for name in organs}
        assert max(row, key=row.__getitem__) in {*lesion.parents, "hepatic_vessel"}


def test_the_same_lesion_under_two_protocols_is_most_alike():
    matrix, names = similarities(), TAXONOMY.names
    row = matrix[names.index("liver_tumor")]

    assert names[np.argsort(-row)[1]] == "hepatic_vessel_tumor"


def signs(term):
    """The 506 signs of a term, by integer arithmetic on the digests."""
    digests = [hashlib.sha256(f"{term} {part}".encode()).hexdigest() for part in (0, 1)]
    bits = "".join(f"{int(digest, 16):0256b}" for digest in digests)
    return [1 if bit == "1" else -1 for bit in bits[:506]]


def test_a_row_is_the_documented_sum():
    taxonomy = made_of(
        {"name": "a"},
        {"name": "b_left", "side": "left", "exclusive": ("b_right",), "centre_mm": (0, 150, 300)},
        {"name": "b_right", "side": "right", "exclusive": ("b_left",)},
        {"name": "c", "group": "tumor", "parents": ("a", "b_left")},
    )
    rows = anatomy_vectors(taxonomy, ("b_right", "c")).vectors.tolist()

    parts = {"structure c": 0.30, "kind c": 0.30, "group tumor": 0.15}
    parts |= {"kind a": 0.15 / 2, "kind b": 0.15 / 2}
    expected = [
        sum(math.sqrt(share / 506) * signs(term)[place] for term, share in parts.items())
        for place in range(506)
    ]
    # Of two parents one has no centre: half of sin and cos of 0, 90 and 180 degrees.
    expected += [math.sqrt(0.15 / 3) / 2 * wave for wave in (0, 1, 1, 0, 0, -1)]
    length = math.sqrt(sum(value * value for value in expected))
    np.testing.assert_allclose(rows[1], np.array(expected) * math.sqrt(512) / length, atol=1e-5)
    parts = {"structure b_right": 0.3, "kind b": 0.3, "group organ": 0.15, "side right": 0.05}
    parts |= {"structure b_left": 0.10}
    expected = [
        sum(math.sqrt(share / 506) * signs(term)[place] for term, share in parts.items())
        for place in range(506)
    ]
    length = math.sqrt(sum(value * value for value in expected))
    np.testing.assert_allclose(
        rows[0][:506], np.array(expected) * math.sqrt(512) / length, atol=1e-5
    )
    assert rows[0][506:] == [0.0] * 6


def test_appended_structures_leave_the_rows_before_them_bit_by_bit():
    first = {"name": "a", "exclusive": ("new",)}
    old = made_of({"name": "a"}, {"name": "t", "group": "tumor", "parents": ("a",)})
    new = made_of(
        first,
        {"name": "t", "group": "tumor", "parents": ("a",)},
        {"name": "new", "exclusive": ("a",)},
        same=("t", "new"),
    )

    before = anatomy_vectors(old, old.names).vectors
    after = anatomy_vectors(new, new.names).vectors

    assert before.numpy().tobytes() == after[:2].numpy().tobytes()
