from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import ModelError
from model.activation_checkpointing import blocks_of, checkpointed
from model.build_backbone import build_backbone
from model.inference_settings import InferenceSettings
from model.training import new_network, take_steps, training_sampler
from model.training_engine import NonFiniteStepError, TrainingEngine
from model.training_memory import TrainingMemoryError
from model.training_patches import PatchSampler, TrainingBatch
from model.training_samples import TrainingSample
from model.training_settings import TrainingSettings
from model.training_state import load_state, save_state

CPU = torch.device("cpu")
STRUCTURES = ("spleen", "liver")
SETTINGS = TrainingSettings(
    backbone_options={"widths": (4, 8), "fold": 2, "out_channels": 4},
    inference=InferenceSettings(spacing_mm=(2.0, 2.0, 2.0), patch=(8, 8, 8)),
    batch_size=1,
    steps=6,
    learning_rate=1e-2,
    autocast=None,
    seed=3,
)


@pytest.fixture(scope="module")
def sampler() -> PatchSampler:
    rng = np.random.default_rng(0)
    samples = []
    for number in range(3):
        hu = rng.normal(0, 100, (12, 12, 12)).astype(np.int16)
        masks = {name: rng.random(hu.shape) > 0.6 for name in STRUCTURES[: 1 + number % 2]}
        samples.append(TrainingSample(hu, (2.0, 2.0, 2.0), masks, case_id=f"c-{number}"))
    return training_sampler(samples, SETTINGS, STRUCTURES, device=CPU)


def new_engine(settings: TrainingSettings = SETTINGS) -> TrainingEngine:
    return TrainingEngine(new_network(settings, STRUCTURES), settings, device=CPU)


def batch_of(sampler: PatchSampler, seed: int, size: int = 1) -> TrainingBatch:
    return sampler.draw(size, torch.Generator().manual_seed(seed))


def joined(*batches: TrainingBatch) -> TrainingBatch:
    return TrainingBatch(
        torch.cat([batch.images for batch in batches]),
        tuple(target for batch in batches for target in batch.targets),
        tuple(name for batch in batches for name in batch.case_ids),
    )


def weights_of(engine: TrainingEngine) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in engine.network.parameters()])


def test_two_accumulated_batches_are_one_of_twice_the_size(sampler: PatchSampler) -> None:
    batches = [batch_of(sampler, 1), batch_of(sampler, 2)]
    apart, together = new_engine(), new_engine()

    apart_record = apart.take(batches)
    together_record = together.take([joined(*batches)])

    assert apart_record.loss == pytest.approx(together_record.loss, rel=1e-5)
    assert apart_record.gradient_norm == pytest.approx(together_record.gradient_norm, rel=1e-4)
    torch.testing.assert_close(weights_of(apart), weights_of(together), rtol=0, atol=1e-4)


def test_accumulation_takes_the_batches_in_a_row(sampler: PatchSampler) -> None:
    twice = replace(SETTINGS, accumulation=2, steps=2)
    engine = new_engine(twice)

    records = list(take_steps(engine, sampler))

    assert [record.step for record in records] == [1, 2]
    assert engine.losses == [record.loss for record in records]


def test_long_gradients_are_cut(sampler: PatchSampler) -> None:
    engine = new_engine(replace(SETTINGS, clip_norm=1e-3))
    seen: list[float] = []

    def note(*_: object) -> None:
        gradients = [w.grad.flatten() for w in engine.network.parameters() if w.grad is not None]
        seen.append(float(torch.cat(gradients).norm()))

    engine.optimizer.register_step_pre_hook(note)

    record = engine.take([batch_of(sampler, 1)])

    assert record.gradient_norm > 1e-2
    assert seen == [pytest.approx(1e-3, rel=1e-3)]


@pytest.mark.parametrize("autocast", [None, "bfloat16"])
def test_activation_checkpointing_changes_no_gradient(
    sampler: PatchSampler, autocast: str | None
) -> None:
    plain = replace(SETTINGS, autocast=autocast)
    saving = replace(plain, activation_checkpointing=True)
    engines = new_engine(plain), new_engine(saving)

    records = [engine.take([batch_of(sampler, 1, size=2)]) for engine in engines]

    assert records[0] == records[1]
    assert torch.equal(weights_of(engines[0]), weights_of(engines[1]))


def test_activation_checkpointing_keeps_less_for_the_backward_pass() -> None:
    backbone = build_backbone("small_unet", widths=(8, 16), fold=2, out_channels=8)

    def held(*, enabled: bool) -> int:
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            checkpointed(backbone, enabled=enabled),
        ):
            backbone(torch.rand(1, 1, 32, 32, 32))
        return sum(kept.values())

    assert len(blocks_of(backbone)) == 2 + 1 + 1 + 1
    assert held(enabled=True) < 0.6 * held(enabled=False)
    assert "forward" not in vars(blocks_of(backbone)[0])


def test_float16_trains_with_a_scaled_loss(sampler: PatchSampler) -> None:
    engine = new_engine(replace(SETTINGS, autocast="float16"))

    records = list(take_steps(engine, sampler))

    assert engine.scaler.is_enabled()
    assert all(np.isfinite(record.loss) for record in records)
    assert records[-1].step == 6


def test_float16_leaves_a_step_out_that_overflows_and_scales_less(sampler: PatchSampler) -> None:
    engine = new_engine(replace(SETTINGS, autocast="float16"))
    engine.scaler.load_state_dict({**engine.scaler.state_dict(), "scale": 2.0**100})
    before = weights_of(engine)

    record = engine.take([batch_of(sampler, 1)])

    assert not np.isfinite(record.gradient_norm)
    assert torch.equal(weights_of(engine), before)
    assert engine.scaler.get_scale() == 2.0**99
    assert engine.step == 1


def test_a_step_that_is_not_finite_names_where_and_changes_nothing(sampler: PatchSampler) -> None:
    engine = new_engine()
    engine.take([batch_of(sampler, 1)])
    before = weights_of(engine)
    batch = batch_of(sampler, 2)
    batch.images[:] = torch.nan

    with pytest.raises(NonFiniteStepError) as caught:
        engine.take([batch])

    where = caught.value.divergence
    names = {STRUCTURES[number] for number in batch.targets[0].structure_index.tolist()}
    assert (where.step, where.case_ids, set(where.structures)) == (2, batch.case_ids, names)
    assert where.parameters
    assert torch.equal(weights_of(engine), before)
    assert engine.step == 1


def test_full_memory_changes_nothing_and_says_what_takes_less(sampler: PatchSampler) -> None:
    engine = new_engine(replace(SETTINGS, batch_size=2))
    before = weights_of(engine)
    handle = engine.network.backbone.register_forward_hook(
        lambda *_: torch.empty(1 << 52)  # refused by the real allocator
    )

    with pytest.raises(TrainingMemoryError, match=r"step 1 did not(.|\n)*batch 1, accumulation 2"):
        engine.take([batch_of(sampler, 1, size=2)])

    handle.remove()
    assert torch.equal(weights_of(engine), before)
    assert engine.take([batch_of(sampler, 1, size=2)]).step == 1


def resumed(settings: TrainingSettings, sampler: PatchSampler, path: Path) -> TrainingEngine:
    """Three steps, a state on disk, another engine, and the rest."""
    first = new_engine(settings)
    for record in take_steps(first, sampler):
        if record.step == 3:
            break
    save_state(first, path, {"best_step": None})
    second = TrainingEngine(
        new_network(replace(settings, seed=99), STRUCTURES), settings, device=CPU
    )
    assert load_state(second, path) == {"best_step": None}
    list(take_steps(second, sampler))
    return second


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"average_decay": 0.5, "accumulation": 2},
        {"autocast": "float16"},
        {"autocast": "bfloat16", "activation_checkpointing": True, "head": "query_dot"},
    ],
)
def test_a_training_that_is_resumed_ends_bit_by_bit_as_an_undisturbed_one(
    changes: dict[str, object], sampler: PatchSampler, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    undisturbed = new_engine(settings)
    list(take_steps(undisturbed, sampler))

    engine = resumed(settings, sampler, tmp_path / "state.safetensors")

    assert engine.losses == undisturbed.losses
    assert torch.equal(weights_of(engine), weights_of(undisturbed))
    ends = [one.present_network().state_dict() for one in (engine, undisturbed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_damaged_or_foreign_state_is_refused(sampler: PatchSampler, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    engine = new_engine()
    engine.take([batch_of(sampler, 1)])
    save_state(engine, path, {})

    other = replace(SETTINGS, backbone_options={"widths": (4, 16), "out_channels": 4})
    with pytest.raises(ModelError, match="another network"):
        load_state(new_engine(other), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="whole file of its own"):
        load_state(new_engine(), path)
