import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from configs.errors import ModelError, StorageError, UsageError
from configs.taxonomy import load_taxonomy
from flows import cli
from flows.chosen_encoding import choose_encoding
from flows.encode import EncodeRequest, encode, open_clip_model, open_encoding
from flows.similarity_plot import plot_order
from model.anatomy_encoding import anatomy_vectors
from model.text_encoding import OpenClipModel, encode_words
from storage.encoding_registry import find_encoding, stored_encodings
from storage.rebuild import rebuild
from storage.verify import verify

NAMES = load_taxonomy().names


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory):
    """A tiny open_clip model of random weights, saved as open_clip does."""
    folder = tmp_path_factory.mktemp("encoder")
    tower = {"width": 16, "layers": 1}
    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "head_width": 8, **tower},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "heads": 2, **tower},
    }
    about = {"model_cfg": config, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(about), encoding="utf-8")
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


@pytest.fixture
def run(monkeypatch, empty_store):
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(empty_store.workspace.root))
    return lambda *arguments: CliRunner().invoke(cli.app, [str(one) for one in arguments])


def test_sentences_are_encoded_once_and_kept_with_their_origin(empty_store, text_encoder):
    request = EncodeRequest(
        source=f"open_clip:{text_encoder}", prompt="photo", words={"aorta": "big vessel"}
    )

    stored = encode(empty_store, request, name="clip")

    back = open_encoding(empty_store, "clip")
    said = ["big vessel" if s.name == "aorta" else s.spoken for s in load_taxonomy().structures]
    expected = encode_words(OpenClipModel(name=text_encoder), said, prompt="photo")
    assert back.structures == NAMES
    assert torch.equal(back.text.vectors, expected.vectors)
    assert stored.card["prompt"] == "A photo of a {}"
    assert stored.card["words"]["aorta"] == "big vessel"
    assert stored.card["sha256"] == expected.provenance.sha256
    assert encode(empty_store, request, name="clip").vectors == stored.vectors


def test_an_encoding_survives_a_rebuild_and_is_verified(empty_store):
    encode(empty_store, EncodeRequest(source="anatomy"), name="body")
    encode(empty_store, EncodeRequest(source="anatomy", structures=("liver",)), name="body")
    size = empty_store.journal.size()
    encode(empty_store, EncodeRequest(source="anatomy", structures=("liver",)), name="body")
    assert empty_store.journal.size() == size

    rebuild(empty_store)

    assert verify(empty_store).findings == ()
    assert open_encoding(empty_store, "body").structures == ("liver",)
    find_encoding(empty_store, "body").path.write_bytes(b"other")
    assert "missing or altered" in verify(empty_store).findings[0].fault
    with pytest.raises(StorageError, match="altered"):
        choose_encoding(empty_store, "body")


def test_rows_of_a_file_belong_to_the_structures_in_their_order(empty_store, tmp_path):
    rows = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    request = EncodeRequest(source=f"file:{tmp_path / 'rows.npy'}", structures=("liver", "spleen"))

    encode(empty_store, request, name="mine")

    chosen = choose_encoding(empty_store, "mine")
    assert chosen.kind == "text"
    assert chosen.vectors(("spleen",)).vectors.tolist() == rows[1:].tolist()
    with pytest.raises(ModelError, match="no row for colon"):
        chosen.vectors(("spleen", "colon"))


def test_encodings_that_need_no_store_are_chosen_by_their_kind(empty_store):
    kinds = [choose_encoding(empty_store, name).kind for name in ("learned", "one_hot", "anatomy")]
    vectors = choose_encoding(empty_store, "anatomy").vectors(("liver", "colon"))

    assert kinds == ["learned", "one_hot", "text"]
    assert torch.equal(
        vectors.vectors, anatomy_vectors(load_taxonomy(), ("liver", "colon")).vectors
    )
    assert choose_encoding(empty_store, "learned").vectors(NAMES) is None
    with pytest.raises(UsageError, match=r"no encoding 'clip' .* `atlasloop encode --name clip"):
        choose_encoding(empty_store, "clip")


def test_stored_one_hot_rows_are_axes(empty_store):
    encode(empty_store, EncodeRequest(source="one_hot"), name="axes")

    rows = open_encoding(empty_store, "axes").text.vectors

    assert torch.equal(rows @ rows.T, 256 * torch.eye(32))


@pytest.mark.parametrize(
    ("name", "request_", "message"),
    [
        ("anatomy", EncodeRequest(source="anatomy"), "none of learned"),
        ("Up per", EncodeRequest(source="anatomy"), "lower-case"),
        ("x", EncodeRequest(source="clip"), "a source is open_clip:MODEL"),
        ("x", EncodeRequest(source="file:"), "a source is"),
        ("x", EncodeRequest(source="anatomy", prompt="photo"), "are open_clip's"),
        ("x", EncodeRequest(source="one_hot", quick_gelu=True), "are open_clip's"),
        ("x", EncodeRequest(source="anatomy", structures=("uterus",)), "unknown structure"),
        ("x", EncodeRequest(source="anatomy", structures=("liver", "liver")), "one row"),
        ("x", EncodeRequest(source="open_clip:a/b", words={"lever": "x"}), "unknown structure"),
        ("x", EncodeRequest(source="open_clip:ViT-B-32"), "needs weights"),
    ],
)
def test_wrong_requests_are_refused_and_leave_no_trace(empty_store, name, request_, message):
    with pytest.raises(UsageError, match=message):
        encode(empty_store, request_, name=name)

    assert stored_encodings(empty_store) == {}


@pytest.mark.parametrize(
    ("text", "name", "weights"),
    [
        ("ViT-B-32/openai", "ViT-B-32", "openai"),
        ("ViT-B-32//data/clip.pt", "ViT-B-32", "/data/clip.pt"),
        ("hf-hub:owner/model", "hf-hub:owner/model", None),
        ("local-dir:/a/b", "local-dir:/a/b", None),
    ],
)
def test_what_stands_behind_the_slash_is_the_weights(text, name, weights):
    model = open_clip_model(text)

    assert (model.name, model.weights) == (name, weights)


def test_the_plot_groups_organs_tumors_and_cysts():
    order = plot_order(("kidney_cyst", "liver_tumor", "colon", "kidney_left"), load_taxonomy())

    assert order == ["kidney_left", "colon", "liver_tumor", "kidney_cyst"]


def test_commands_encode_list_show_and_draw(run, tmp_path, text_encoder):
    source = f"open_clip:{text_encoder}"
    rows = [part for name in ("liver_tumor", "aorta", "liver") for part in ("--structure", name)]
    made = run(
        *("encode", "--source", source, "--name", "clip", "--prompt", "{} on CT", *rows),
        *("--say", "aorta=big vessel", "--plot", tmp_path / "a.png"),
    )
    assert made.exit_code == 0, made.output
    assert run("encode", "--source", "anatomy", "--name", "body").exit_code == 0

    listed = json.loads(run("encode", "list", "--json").stdout)
    shown = run("encode", "show", "clip")

    assert [one["name"] for one in listed] == ["body", "clip"]
    assert listed[1]["words"]["aorta"] == "big vessel"
    assert "prompt: {} on CT" in shown.output
    assert "big vessel" in shown.output
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    # The lowest and the highest colour of the scale, and the grey of the diagonal.
    for colour in ((68, 1, 84), (253, 231, 36), (221, 221, 221)):
        assert (picture == colour).all(axis=2).sum() > 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encode",), "--source and --name"),
        (("encode", "--source", "anatomy", "--name", "x", "--say", "aorta"), "NAME=WORDS"),
        (("encode", "--source", "anatomy", "--name", "x", "--plot", "x.pdf"), "ends in .png"),
        (("encode", "show", "nothing"), "known are none"),
    ],
)
def test_wrong_use_of_the_commands_ends_with_2(run, arguments, message):
    result = run(*arguments)

    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
