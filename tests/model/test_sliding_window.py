import numpy as np
import pytest
import torch
from monai.inferers.utils import sliding_window_inference
from torch import nn

from configs.errors import CaseError, Reason
from model.network_options import NetworkOptions
from model.sliding_window import (
    Windowing,
    predict_probabilities,
    window_count,
    window_starts,
    window_weight,
)
from model.working_levels import HALF, TOP


def toy_network(structures=3):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, structures, 3))
    return nn.Sequential(network, nn.ReplicationPad3d(1)).eval()


def image_of(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(shape).astype(np.float32))


def run(image, network, *, body=None, structures=3, patch, overlap=0.5, **options):
    body = np.ones(tuple(image.shape), bool) if body is None else body
    return predict_probabilities(
        image,
        body,
        network,
        structures=structures,
        windowing=Windowing(patch=patch, overlap=overlap),
        options=NetworkOptions(**options),
    )


@pytest.mark.parametrize(
    ("shape", "overlap", "batch"),
    [
        ((20, 17, 33), 0.5, 1),
        ((12, 9, 30), 0.25, 3),
        ((25, 16, 19), 0.75, 4),
        ((5, 20, 6), 0.5, 2),
        ((14, 9, 30), 0.0, 1),
    ],
)
def test_blending_equals_monai(shape, overlap, batch):
    network, image, patch = toy_network(), image_of(shape), (12, 8, 8)
    with torch.inference_mode():
        logits = sliding_window_inference(
            image[None, None], patch, 1, network, overlap=overlap, mode="gaussian"
        )
    expected = TOP * torch.sigmoid(logits[0]).numpy()

    result = run(image, network, patch=patch, overlap=overlap, batch_size=batch)

    assert np.abs(result - expected).max() <= 0.52


def test_one_window_gives_the_network_itself():
    network, image = toy_network(), image_of((8, 8, 8))
    with torch.inference_mode():
        expected = TOP * torch.sigmoid(network(image[None, None])[0]).numpy()

    assert np.abs(run(image, network, patch=(8, 8, 8)) - expected).max() <= 0.52


def test_adding_structures_a_few_at_a_time_changes_nothing(monkeypatch):
    network, image = toy_network(5), image_of((12, 9, 20))
    expected = run(image, network, structures=5, patch=(8, 8, 8))
    monkeypatch.setattr("model.sliding_window._CACHED_VOXELS", 2 * 8**3)

    result = run(image, network, structures=5, patch=(8, 8, 8))

    np.testing.assert_array_equal(result, expected)


def test_windows_cover_an_axis_and_end_with_it():
    assert window_starts(10, 4, 0.5) == (0, 2, 4, 6)
    assert window_starts(9, 4, 0.5) == (0, 2, 4, 5)
    assert window_starts(4, 4, 0.5) == (0,)
    assert window_starts(3, 4, 0.5) == (0,)


@pytest.mark.parametrize(
    ("shape", "overlap", "count"),
    [((260, 260, 300), 0.5, 150), ((260, 260, 300), 0.75, 640), ((230, 200, 160), 0.5, 48)],
)
def test_window_count_equals_the_figures_of_the_reference(shape, overlap, count):
    assert window_count(shape, Windowing(patch=(96, 96, 96), overlap=overlap)) == count


def test_exact_halves_are_background():
    """A logit of 0 is a probability of 0.5, which is not above 0.5."""
    levels = {}
    for logit in (-1e-6, 0.0, 1e-6):
        result = run(
            image_of((4, 4, 4)), lambda x, v=logit: x * 0 + v, structures=1, patch=(4, 4, 4)
        )
        levels[logit] = set(result.ravel().tolist())

    assert levels == {-1e-6: {HALF}, 0.0: {HALF}, 1e-6: {HALF + 1}}


def test_windows_without_body_are_not_run_and_stay_zero():
    image = image_of((8, 8, 24))
    body = np.zeros((8, 8, 24), bool)
    body[3, 3, 18] = True
    seen = []

    def predict(images):
        seen.append(images)
        return images * 0 + 5.0

    result = run(image, predict, body=body, structures=1, patch=(8, 8, 8), overlap=0.5)

    assert len(seen) == 2
    assert torch.equal(seen[0][0, 0], image[:, :, 12:20])
    assert (result[..., :12] == 0).all()
    assert (result[..., 12:] > 0.98 * TOP).all()


def test_a_body_that_touches_later_windows_only_does_not_shift_the_result():
    network, image = toy_network(), image_of((10, 10, 40))
    body = np.zeros((10, 10, 40), bool)
    body[..., 22:] = True
    everywhere = run(image, network, patch=(8, 8, 8))

    result = run(image, network, body=body, patch=(8, 8, 8))

    np.testing.assert_array_equal(result[..., 24:], everywhere[..., 24:])
    assert (result[..., :16] == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_logits_fail_the_case(bad):
    def predict(images):
        logits = images * 0
        logits[0, 0, 3, 3, 3] = bad
        return logits

    with pytest.raises(CaseError, match="finite") as failure:
        run(image_of((6, 6, 12)), predict, structures=1, patch=(6, 6, 6))

    assert failure.value.reason is Reason.NON_FINITE_LOGITS


def test_the_ring_is_one_window_thick(monkeypatch):
    """Float memory does not grow with the last axis."""
    largest = {}
    real_zeros = torch.zeros
    for depth in (16, 64):
        sizes = []

        def zeros(*args, _sizes=sizes, **kwargs):
            tensor = real_zeros(*args, **kwargs)
            _sizes.append(tensor.numel())
            return tensor

        monkeypatch.setattr("model.sliding_window.torch.zeros", zeros)
        run(image_of((8, 8, depth)), toy_network(), patch=(8, 8, 8))
        largest[depth] = max(sizes)

    assert largest[16] == largest[64] == 3 * 8 * 8 * 8


def test_weights_are_one_at_the_centre_and_floored():
    weight = window_weight((9, 9, 9))

    assert weight[4, 4, 4] == 1.0
    assert weight.min() == pytest.approx(1e-3)
    assert weight[4, 4, 6] == pytest.approx(np.exp(-4 / (2 * (9 / 8) ** 2)), rel=1e-5)


def test_bfloat16_stays_close_to_float32():
    network, image = toy_network(), image_of((12, 12, 12))
    exact = run(image, network, patch=(8, 8, 8)).astype(int)

    rough = run(image, network, patch=(8, 8, 8), precision="bfloat16").astype(int)

    assert 0 < np.abs(exact - rough).max() <= 3 * TOP / 255


def test_uniform_blending_equals_monai():
    network, image, patch = toy_network(), image_of((20, 17, 33)), (12, 8, 8)
    with torch.inference_mode():
        logits = sliding_window_inference(
            image[None, None], patch, 1, network, overlap=0.5, mode="constant"
        )
    expected = TOP * torch.sigmoid(logits[0]).numpy()

    result = run(image, network, patch=patch, blending="uniform")

    assert np.abs(result - expected).max() <= 0.52


def test_windows_without_body_run_when_all_are_wanted():
    network, image = toy_network(), image_of((16, 16, 16))
    body = np.zeros((16, 16, 16), bool)
    body[:2, :2, :2] = True

    everywhere = run(image, network, patch=(8, 8, 8), body=body, body_only=False)

    np.testing.assert_array_equal(everywhere, run(image, network, patch=(8, 8, 8)))
    assert not run(image, network, patch=(8, 8, 8), body=body)[:, 12:, 12:, 12:].any()


def test_sums_on_the_host_give_the_same_bytes():
    network, image = toy_network(), image_of((20, 17, 33))

    on_host = run(image, network, patch=(12, 8, 8), host_sums=True)

    np.testing.assert_array_equal(on_host, run(image, network, patch=(12, 8, 8)))
