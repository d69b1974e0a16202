import numpy as np
import pytest
import torch

from configs.errors import ModelError
from model.encoding import Provenance, TextVectors
from model.structure_vectors import (
    StructureVectors,
    cosine_similarities,
    load_vectors,
    save_vectors,
)

NAMES = ("liver", "spleen", "colon")


def vectors(rows=((3.0, 4.0), (4.0, 3.0), (-4.0, 3.0)), words=NAMES):
    text = TextVectors.checked(
        torch.tensor(rows), Provenance(source="here", prompt="a {}", words=words), count=len(rows)
    )
    return StructureVectors(NAMES[: len(rows)], text)


def test_a_stored_encoding_comes_back(tmp_path):
    path = tmp_path / "e"
    path.write_bytes(save_vectors(vectors()))

    back = load_vectors(path)

    assert back.structures == NAMES
    assert torch.equal(back.text.vectors, vectors().text.vectors)
    assert back.text.provenance == vectors().text.provenance
    assert save_vectors(back) == path.read_bytes()


def test_rows_are_chosen_by_name():
    chosen = vectors().rows_of(("colon", "liver"))

    assert chosen.vectors.tolist() == [[-4.0, 3.0], [3.0, 4.0]]
    assert chosen.provenance.words == ("colon", "liver")
    assert chosen.provenance.prompt == "a {}"
    assert chosen.provenance.sha256 != vectors().text.provenance.sha256
    assert vectors(words=()).rows_of(("colon",)).provenance.words == ()


def test_a_structure_without_a_row_is_an_error_with_a_remedy():
    with pytest.raises(ModelError, match=r"no row for uterus; encode all .* `atlasloop encode`"):
        vectors().rows_of(("liver", "uterus"))


def test_cosines_of_a_case_by_hand():
    np.testing.assert_allclose(
        cosine_similarities(vectors().text),
        [[1, 0.96, 0], [0.96, 1, -0.28], [0, -0.28, 1]],
        atol=1e-12,
    )


def test_other_files_are_refused(tmp_path):
    whole = save_vectors(vectors())
    # The last of 6 float32 values: 3.0 becomes 3.5.
    altered = whole[:-4] + np.float32(3.5).tobytes()
    for name, data in (("short", whole[:-1]), ("altered", altered), ("text", b"no tensors")):
        (tmp_path / name).write_bytes(data)
    for name in ("short", "altered", "text", "missing"):
        with pytest.raises(ModelError, match=name):
            load_vectors(tmp_path / name)
