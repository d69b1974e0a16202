from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from configs.errors import ModelError
from model.encoding import Provenance, TextVectors
from model.inference_settings import InferenceSettings
from model.published_weights import PUBLISHED_INFERENCE, import_published

NAMES = tuple(f"structure {number}" for number in range(32))

State = dict[str, Tensor]


@pytest.fixture
def state(published_state: Callable[..., State]) -> State:
    return published_state("unet", 2)


@pytest.fixture
def learned(published_state: Callable[..., State]) -> State:
    return published_state("unet", 2, encoding="learned")


def text_of(vectors: Tensor) -> TextVectors:
    return TextVectors.checked(vectors, Provenance(source="words.pth"), count=len(vectors))


def test_the_settings_of_the_published_weights_are_the_papers() -> None:
    assert (
        InferenceSettings(
            spacing_mm=(1.5, 1.5, 1.5), hu_window=(-175.0, 250.0), patch=(96, 96, 96), overlap=0.5
        )
        == PUBLISHED_INFERENCE
    )


def test_what_is_missing_unexpected_or_unfit_is_all_reported(state: State) -> None:
    del state["GAP.0.bias"]
    state["backbone.down_tr64.extra"] = torch.zeros(1)
    state["controller.bias"] = torch.zeros(152)

    with pytest.raises(ModelError) as refused:
        import_published(state, NAMES)

    message = str(refused.value)
    assert "73 match" in message
    assert "missing 1 (GAP.0.bias)" in message
    assert "unexpected 1 (backbone.down_tr64.extra)" in message
    assert "another shape or type 1 (controller.bias (152,) for (153,))" in message


def test_a_long_list_is_cut_with_its_count(state: State) -> None:
    for name in [name for name in state if name.startswith("backbone.up_tr")]:
        del state[name]

    with pytest.raises(ModelError, match=r"missing 30 \(.* and 24 more\)"):
        import_published(state, NAMES)


@pytest.mark.parametrize("change", ["int", "nan", "transposed"])
def test_tensors_of_another_kind_are_refused(state: State, change: str) -> None:
    name = "backbone.down_tr64.ops.1.conv1.weight"
    state[name] = {
        "int": state[name].to(torch.int64),
        "nan": state[name] / 0 * 0,
        "transposed": state[name].transpose(0, 1),
    }[change]

    with pytest.raises(ModelError, match=r"down_tr64\.ops\.1\.conv1\.weight"):
        import_published(state, NAMES)


def test_another_window_is_noticed_by_the_numbers_in_its_table(
    published_state: Callable[..., State],
) -> None:
    state = published_state("swin_unetr", 12)
    name = "backbone.swinViT.layers1.0.blocks.0.attn.relative_position_index"
    state[name] = state[name].T.contiguous()

    with pytest.raises(ModelError, match="another window"):
        import_published(state, NAMES)


@pytest.mark.parametrize("encoding", ["text", "learned"])
@pytest.mark.parametrize("classes", [9, 25, 31])
def test_another_number_of_classes_is_refused(
    published_state: Callable[..., State], encoding: str, classes: int
) -> None:
    state = published_state("unet", 2, encoding=encoding, classes=classes)

    with pytest.raises(ModelError, match=f"32 classes.*{classes}, "):
        import_published(state, NAMES)


def test_missing_text_encodings_are_asked_for_and_never_made_up(state: State) -> None:
    vectors = state.pop("organ_embedding")

    with pytest.raises(ModelError, match="--text-encoding FILE"):
        import_published(state, NAMES)
    imported = import_published(state, NAMES, text_of(vectors))
    assert torch.equal(imported.network.encoding.state_dict()["vectors"], vectors)
    assert imported.network.encoding.provenance.source == "words.pth"
    assert imported.report.matched == 74


def test_text_encodings_beside_those_of_the_file_must_be_the_same(state: State) -> None:
    own = state["organ_embedding"]

    imported = import_published(state, NAMES, text_of(own.half()))

    assert torch.equal(imported.network.encoding.state_dict()["vectors"], own)
    assert imported.network.encoding.provenance.source == "words.pth"
    for other in (own.flip(0), own[:, :300]):
        with pytest.raises(ModelError, match="differ from those in the weights file"):
            import_published(state, NAMES, text_of(other))


def test_text_encodings_of_another_length_are_refused(state: State) -> None:
    del state["organ_embedding"]

    with pytest.raises(ModelError, match="768 numbers long, the weights take 512"):
        import_published(state, NAMES, text_of(torch.randn(32, 768)))


def test_text_encodings_do_not_go_with_learned_class_vectors(learned: State) -> None:
    with pytest.raises(ModelError, match="leave out --text-encoding"):
        import_published(learned, NAMES, text_of(torch.randn(32, 512)))


def test_class_vectors_without_their_projection_are_refused(state: State) -> None:
    del state["text_to_vision.weight"]

    with pytest.raises(ModelError, match=r"text_to_vision\.weight"):
        import_published(state, NAMES)


def test_random_numbers_in_place_of_text_are_warned_about(state: State) -> None:
    assert import_published(state, NAMES).report.warnings == ()
    state["organ_embedding"] = torch.randn(32, 512)

    (warning,) = import_published(state, NAMES).report.warnings

    assert "look like random numbers" in warning


def test_weights_of_fixed_classes_and_for_initialising_are_named(state: State) -> None:
    body = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}

    with pytest.raises(ModelError, match="unet without the universal head"):
        import_published(body, NAMES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("backbone.cell_tree_encoder.0.weight", "DiNTS, which is not supported yet"),
        ("encoder.conv.weight", "must be one of swin_unetr, unet, unetpp, segresnet"),
    ],
)
def test_other_backbones_are_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        import_published({name: torch.zeros(1), "controller.weight": torch.zeros(1)}, NAMES)


def test_a_checkpoint_of_ours_is_told_from_a_published_one(state: State) -> None:
    ours = import_published(state, NAMES).network.state_dict()

    with pytest.raises(ModelError, match="checkpoint of AtlasLoop"):
        import_published(ours, NAMES)


def test_half_precision_becomes_float32(state: State) -> None:
    halved = {name: w.half() if w.is_floating_point() else w for name, w in state.items()}

    network = import_published(halved, NAMES).network

    assert {weight.dtype for weight in network.state_dict().values()} == {torch.float32}


def test_output_layers_of_a_backbone_are_left_out_and_counted(state: State) -> None:
    state["backbone.out_tr.final_conv.weight"] = torch.zeros(1, 4, 1, 1, 1)

    report = import_published(state, NAMES).report

    assert "backbone.out_tr.final_conv.weight" in report.not_needed
    assert (report.matched, len(report.not_needed)) == (75, 43)


def test_two_names_for_one_tensor_are_refused(state: State) -> None:
    state["module.controller.bias"] = state["controller.bias"]

    with pytest.raises(ModelError, match="stay different"):
        import_published(state, NAMES)


def test_importing_leaves_the_global_random_state_alone(state: State) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    import_published(state, NAMES)

    assert torch.equal(torch.rand(1), expected)
