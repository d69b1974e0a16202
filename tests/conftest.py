"""Fixtures for every test: the real data beside the checkout, small CTs and bad files made here."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
import signal
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from flows.init import init
from flows.intake import intake
from storage.assignments import assign_readings
from storage.canonical_json import sha256_hex
from storage.claims import claim_items
from storage.grid import Grid
from storage.labels import ABSENT, LabelMask, base_of, version_json
from storage.masks import encode_map, encode_mask
from storage.predictions import (
    CONSENSUS,
    Manifest,
    StoredMap,
    StoredMask,
    close_case,
    closed_predictions,
    flat_box,
    manifest_grid,
)
from storage.queue import QueueEntry, write_queue
from storage.store import Store
from storage.verdicts import LinkedMask, Verdict, give_verdict

if TYPE_CHECKING:
    import torch

_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Let commands that tests start hear Ctrl-C, also where a shell put the test run aside."""
    # A shell without job control starts what it puts into the background deaf to SIGINT, and
    # children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CTs; skips without it, or fails where ATLASLOOP_REQUIRE names data."""
    folder = Path(os.environ.get("ATLASLOOP_TEST_DATA", _BESIDE_CHECKOUT))
    if not (folder / "ct").is_dir():
        message = "needs the real CTs: set ATLASLOOP_TEST_DATA to the folder that holds ct/"
        if "data" in os.environ.get("ATLASLOOP_REQUIRE", ""):
            pytest.fail(f"{message}, since ATLASLOOP_REQUIRE names data")
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def small_ct() -> npt.NDArray[np.int16]:
    """A body in air with fat, soft tissue, a spine and gas, RAS, shape (30, 26, 20), noisy."""
    rng = np.random.default_rng(7)
    i, j, k = np.meshgrid(*(np.arange(n) for n in (30, 26, 20)), indexing="ij")
    radius = ((i - 14.5) / 13) ** 2 + ((j - 12.5) / 10) ** 2
    hu = np.full(radius.shape, -1000.0)
    hu[radius < 1] = -100
    hu[radius < 0.7] = 50
    hu[((i - 14.5) / 3) ** 2 + ((j - 5) / 3) ** 2 < 1] = 400
    hu[((i - 8) / 3) ** 2 + ((j - 17) / 2) ** 2 + ((k - 12) / 4) ** 2 < 1] = -800
    hu += rng.normal(0, 12, hu.shape) + 20 * np.sin(k / 3) * (radius < 0.7)
    return np.rint(hu).astype(np.int16)


@pytest.fixture(scope="session")
def small_affine() -> npt.NDArray[np.float64]:
    """RAS, 3 x 3 x 5 mm, exact in float32."""
    affine = np.diag([3.0, 3.0, 5.0, 1.0])
    affine[:3, 3] = (-40.5, -30.25, 100.0)
    return affine


@dataclass(frozen=True, slots=True)
class AnnotatedWorkspace:
    """A workspace with annotated and queued cases, made without a network.

    Every case has a ball as liver, one as stomach that touches it, an absent spleen that a member
    half sees, and all three stand in the queue, by position in this order.
    """

    store: Store
    case_ids: tuple[str, ...]
    committee_id: str
    structures: tuple[str, ...] = ("liver", "stomach", "spleen")

    def put_mask(self, mask_ras: npt.NDArray[np.bool_], grid: Grid) -> LabelMask:
        """Store a mask of a whole volume, RAS order."""
        encoded = encode_mask(mask_ras, tuple((0, n) for n in grid.ras_shape), grid)
        if encoded.data is None or encoded.box is None:
            return ABSENT
        digest = self.store.objects.put(encoded.data)
        return LabelMask(digest, flat_box(encoded.box), encoded.voxels)

    def prediction_id(self, case_id: str) -> str:
        """Return the id of the case's prediction."""
        with self.store.read() as connection:
            return closed_predictions(connection, self.committee_id)[case_id]


@pytest.fixture(scope="session")
def annotated_in(
    tmp_path_factory: pytest.TempPathFactory,
    small_ct: npt.NDArray[np.int16],
    small_affine: npt.NDArray[np.float64],
) -> Callable[..., AnnotatedWorkspace]:
    """What ``make_annotated`` is for one test: the same, with the folder as first argument."""
    templates: dict[bytes, AnnotatedWorkspace] = {}

    def make(
        where: Path,
        *,
        cases: int = 1,
        affine: npt.NDArray[np.float64] | None = None,
        affines: Sequence[npt.NDArray[np.float64]] = (),
        own_cts: bool = False,
    ) -> AnnotatedWorkspace:
        wanted = np.array(affines or [small_affine if affine is None else affine] * cases, float)
        if own_cts:
            return _annotated(where, small_ct, wanted)
        key = wanted.tobytes()
        if key not in templates:
            templates[key] = _annotated(tmp_path_factory.mktemp("annotated"), small_ct, wanted)
        root = templates[key].store.workspace.root
        return replace(templates[key], store=Store.open(shutil.copytree(root, where / root.name)))

    return make


@pytest.fixture
def make_annotated(
    tmp_path: Path, annotated_in: Callable[..., AnnotatedWorkspace]
) -> Callable[..., AnnotatedWorkspace]:
    """A maker of ``AnnotatedWorkspace``: ``make_annotated(cases=2, affine=None, own_cts=False)``.

    ``affines`` gives each case one of its own instead. Workspaces of a kind are copies of one and
    read the same CTs; a test that moves or changes a CT wants ``own_cts``, which lie in ``cts`` of
    its folder.
    """
    return partial(annotated_in, tmp_path)


def _annotated(
    where: Path, ct: npt.NDArray[np.int16], affines: npt.NDArray[np.float64]
) -> AnnotatedWorkspace:
    store = init(where / "annotated workspace")
    folder = where / "cts"
    folder.mkdir()
    for number, affine in enumerate(affines):
        # Another offset of the noise a case: no two scans are alike.
        voxels = np.roll(ct, number, axis=2) + np.int16(7 * number)
        nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / f"scan {number}.nii.gz")
    taken = intake(store, [folder])
    # Whoever wants blocks of a CT sees them being made.
    shutil.rmtree(store.workspace.regions_path, ignore_errors=True)
    case_ids = tuple(file.case_id for file in taken.taken)
    made = AnnotatedWorkspace(store, case_ids, "k-000000000001")
    for file in taken.taken:
        image = nibabel.load(file.path)
        grid = Grid.from_affine(image.shape, image.affine)
        close_case(store, _ball_manifest(made, file.case_id, grid), run_id="r-1", seconds=1.0)
    entries = [
        QueueEntry(
            position=1 + position,
            kind="possibly_missed" if structure == "spleen" else "present",
            case_id=case_id,
            structure=structure,
            risk=0.9 - 0.1 * position,
            reason="members disagree",
        )
        for position, (structure, case_id) in enumerate(
            (structure, case_id) for structure in made.structures for case_id in case_ids
        )
    ]
    write_queue(store, entries, committee_id=made.committee_id, policy="disagreement")
    return made


def _ball(shape: tuple[int, int, int], centre: float, radius: float) -> npt.NDArray[np.bool_]:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return (axes[0] - centre) ** 2 + axes[1] ** 2 + axes[2] ** 2 < radius**2


def _ball_manifest(made: AnnotatedWorkspace, case_id: str, grid: Grid) -> Manifest:
    shape = grid.ras_shape
    full = tuple((0, n) for n in shape)
    masks, maps, scores = [], [], []
    for structure, centre, present in (
        ("liver", 0.35, True),
        ("stomach", -0.35, True),
        ("spleen", -0.6, False),
    ):
        for member, radius in ((CONSENSUS, 0.3), ("a", 0.34), ("b", 0.26)):
            seen = present or member == "a"
            mask = _ball(shape, centre, radius if present else 0.15)
            stored = made.put_mask(mask, grid) if seen else ABSENT
            if stored.object is not None and stored.box is not None:
                masks.append(
                    StoredMask(member, structure, stored.object, stored.box, stored.voxels)
                )
            scores.append(
                {
                    "member": member,
                    "structure": structure,
                    "volume_ml": stored.voxels * float(np.prod(grid.spacing_mm)) / 1000,
                    "entropy_mean": 0.3,
                    "entropy_border": 0.6,
                    "self_consistency": 0.9,
                    "pairwise_dice": 0.7 if present else None,
                    "inconsistency": 0.1,
                    "overlap_exclusive": 0.0,
                    "max_probability": 0.95 if seen else 0.4,
                }
            )
        rim = _ball(shape, centre, 0.38).astype(np.uint8) * 120
        for kind in ("uncertainty", "disagreement"):
            encoded = encode_map(rim, full, grid)
            assert encoded.data is not None
            assert encoded.box is not None
            digest = made.store.objects.put(encoded.data)
            maps.append(StoredMap(kind, structure, digest, flat_box(encoded.box)))
    members = tuple(
        {"name": name, "family": name, "weights": sha256_hex(name.encode())} for name in "ab"
    )
    return Manifest(
        case_id, made.committee_id, members, grid, tuple(masks), tuple(maps), tuple(scores)
    )


class Readings:
    """Gives verdicts, independent readings and dataset labels in an annotated workspace."""

    def __init__(self, made: AnnotatedWorkspace) -> None:
        self.made = made
        self._now = datetime(2026, 1, 5, 12, 0)

    def review(self, case_id, structure, kind, *, reader="anna", mask=None, linked=None):
        """Judge what stands there now, with the AI's mask in sight."""
        claim_items(
            self.made.store,
            case_id,
            [structure],
            reader=reader,
            now=self._now,
            lease=timedelta(minutes=10),
        )
        with self.made.store.read() as connection:
            base, _ = base_of(connection, case_id, structure)
            neighbours = {
                name: LinkedMask(neighbour, base_of(connection, case_id, name)[0])
                for name, neighbour in (linked or {}).items()
            }
        changes = {"base_version": base, "mask": mask, "linked": neighbours}
        return self._give(case_id, structure, kind, reader, **changes)

    def read(self, case_id, structure, kind="correct", *, reader="anna", mask=None):
        """Assign a reading without the AI's mask and give it at once."""
        assign_readings(
            self.made.store,
            reader=reader,
            case_ids=[case_id],
            structures=[structure],
            allow_seen=True,
        )
        changes = {"base_version": None, "mask": mask, "reading": "independent"}
        return self._give(case_id, structure, kind, reader, **changes)

    def import_label(self, case_id, structure, mask, *, dataset="flare"):
        """Commit a dataset's label."""
        with self.made.store.transaction() as transaction:
            transaction.record(
                "labels.imported",
                {
                    "case_id": case_id,
                    "dataset": dataset,
                    "versions": [version_json(structure, mask, parent=None)],
                },
            )

    def ball(self, case_id, *, centre, radius) -> LabelMask:
        """Store a ball like those of the workspace; (0.35, 0.3) is the consensus' liver."""
        with self.made.store.read() as connection:
            prediction = closed_predictions(connection, self.made.committee_id)[case_id]
            grid = manifest_grid(self.made.store, prediction, connection)
        return self.made.put_mask(_ball(grid.ras_shape, centre, radius), grid)

    def _give(self, case_id, structure, kind, reader, **changes):
        verdict = Verdict(
            case_id=case_id,
            structure=structure,
            verdict=kind,
            reader=reader,
            request_id=secrets.token_hex(8),
            opened_at=self._now,
            active_s=5.0,
            **changes,
        )
        return give_verdict(self.made.store, verdict, now=self._now)


@pytest.fixture(scope="session")
def make_readings() -> Callable[[AnnotatedWorkspace], Readings]:
    """A maker of ``Readings`` in a workspace."""
    return Readings


@pytest.fixture(scope="session")
def bad_inputs(
    tmp_path_factory: pytest.TempPathFactory,
    small_ct: npt.NDArray[np.int16],
    small_affine: npt.NDArray[np.float64],
) -> Mapping[str, Path]:
    """Name of the fault -> a small file that has it; see ``_derive_bad_inputs``."""
    folder = tmp_path_factory.mktemp("bad")
    nibabel.save(nibabel.Nifti1Image(small_ct, small_affine), folder / "source.nii.gz")
    return _derive_bad_inputs(folder / "source.nii.gz", folder)


@pytest.fixture(scope="session")
def real_bad_inputs(
    real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """The same faults, derived from a real CT."""
    folder = tmp_path_factory.mktemp("real_bad")
    return _derive_bad_inputs(real_data / "ct" / "example_ct_slab" / "ct.nii.gz", folder)


def _derive_bad_inputs(source: Path, folder: Path) -> dict[str, Path]:
    """Write one file per fault; ``flipped`` and ``negative`` are odd, but no faults."""
    result = {}
    packed = source.read_bytes()
    for name, data in _bad_bytes(packed).items():
        result[name] = folder / f"{name}.nii.gz"
        result[name].write_bytes(data)
    for name, make in _BAD_IMAGES.items():
        image = nibabel.load(source)
        result[name] = folder / f"{name}.nii.gz"
        nibabel.save(make(image), result[name])
    for name, field, value in (
        ("pixdim_zero", "pixdim", [1, 0, 0, 0, 0, 0, 0, 0]),
        ("dim_zero", "dim", [3, 30, 0, 20, 1, 1, 1, 1]),
        ("dim_negative", "dim", [3, 30, -5, 20, 1, 1, 1, 1]),
        ("slope_infinite", "scl_slope", np.inf),
    ):
        result[name] = folder / f"{name}.nii.gz"
        result[name].write_bytes(_with_field(packed, field, value))
    return result


def _bad_bytes(packed: bytes) -> dict[str, bytes]:
    content = gzip.decompress(packed)
    wrong_crc = bytearray(packed)
    wrong_crc[-7] ^= 0xFF
    return {
        "truncated": packed[: int(len(packed) * 0.7)],
        "no_trailer": packed[:-8],
        "short_content": gzip.compress(content[:-1000]),
        "wrong_crc": bytes(wrong_crc),
        "text": b"This is no image, whatever its name says.\n" * 20,
        "gzipped_text": gzip.compress(b"This is no image either.\n" * 40),
        "empty_file": b"",
        "zeros": gzip.compress(bytes(4 << 20)),
        "bomb": _bomb(content),
    }


def _bomb(content: bytes) -> bytes:
    """A valid image followed by 16 MiB of zeros, a few hundred times smaller when packed."""
    deflate = zlib.compressobj(1, wbits=31)
    packed = deflate.compress(content)
    for _ in range(16):
        packed += deflate.compress(bytes(1 << 20))
    return packed + deflate.flush()


def _with_field(packed: bytes, field: str, value: object) -> bytes:
    content = gzip.decompress(packed)
    header = nibabel.Nifti1Header(content[:348], check=False)
    header[field] = value
    return gzip.compress(header.binaryblock + content[348:])


def _voxels(image: nibabel.Nifti1Image) -> npt.NDArray[np.generic]:
    return np.asanyarray(image.dataobj)


def _float_nan(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    voxels = _voxels(image).astype(np.float64)
    voxels[3, 4, 5] = np.nan
    return nibabel.Nifti1Image(voxels, image.affine)


def _qform_shifted(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    shifted = image.affine.copy()
    shifted[0, 3] += 10
    result = nibabel.Nifti1Image(_voxels(image), image.affine)
    result.set_sform(image.affine, code=1)
    result.set_qform(shifted, code=1)
    return result


def _with_sform(image: nibabel.Nifti1Image, affine: npt.NDArray[np.float64]) -> nibabel.Nifti1Image:
    result = nibabel.Nifti1Image(_voxels(image), image.affine)
    result.header.set_sform(affine, code=1)
    # Written as it is: saving would derive the affine anew from the image's own.
    header = result.header.copy()
    return nibabel.Nifti1Image(_voxels(image), None, header)


def _singular(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    affine = image.affine.copy()
    affine[:, 1] = affine[:, 0]
    return _with_sform(image, affine)


def _nan_affine(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    affine = image.affine.copy()
    affine[0, 0] = np.nan
    return _with_sform(image, affine)


def _zero_column(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    affine = image.affine.copy()
    affine[:3, 2] = 0
    return _with_sform(image, affine)


def _without_forms(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    result = nibabel.Nifti1Image(_voxels(image), image.affine)
    result.header["sform_code"] = 0
    result.header["qform_code"] = 0
    return nibabel.Nifti1Image(_voxels(image), None, result.header)


def _rgb(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    colours = np.zeros(image.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nibabel.Nifti1Image(colours, image.affine)


def _unknown_label(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    labels = (_voxels(image) > 0).astype(np.uint8)
    labels[2:5, 2:5, 2:5] = 213
    return nibabel.Nifti1Image(labels, image.affine)


def _changed(
    change: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]],
) -> Callable[[nibabel.Nifti1Image], nibabel.Nifti1Image]:
    return lambda image: nibabel.Nifti1Image(change(_voxels(image)), image.affine)


_BAD_IMAGES: dict[str, Callable[[nibabel.Nifti1Image], nibabel.Nifti1Image]] = {
    "qform_shifted": _qform_shifted,
    "float_nan": _float_nan,
    "singular": _singular,
    "nan_affine": _nan_affine,
    "zero_column": _zero_column,
    "without_forms": _without_forms,
    "rgb": _rgb,
    "unknown_label": _unknown_label,
    "lost_intercept": _changed(lambda voxels: (voxels + 1024).astype(np.int16)),
    "one_slice": _changed(lambda voxels: voxels[:, :, 5:6]),
    "four_dimensional": _changed(lambda voxels: np.stack([voxels, voxels], axis=3)),
    "empty_mask": _changed(lambda voxels: np.zeros(voxels.shape, np.uint8)),
    "complex": _changed(lambda voxels: voxels.astype(np.complex64)),
    "flipped": lambda image: nibabel.Nifti1Image(
        _voxels(image), image.affine @ np.diag([-1, 1, 1, 1])
    ),
    "negative": lambda image: nibabel.Nifti1Image(
        _voxels(image), image.affine @ np.diag([-1, -1, -1, 1])
    ),
}


@pytest.fixture(scope="session")
def published_state() -> Callable[..., dict[str, torch.Tensor]]:
    """A maker of what the published files hold, from names and shapes written down by hand.

    ``published_state("unet", 2, encoding="learned")`` gives tensors under their nested names
    without ``module.``, of the width given, with every value at random and none at its default;
    without ``values`` they have shapes alone.
    """

    def make(
        backbone: str,
        width: int,
        *,
        encoding: str = "text",
        classes: int = 32,
        seed: int = 0,
        values: bool = True,
    ) -> dict[str, torch.Tensor]:
        import torch  # most tests need none of it

        shapes = {"unet": _unet_shapes, "swin_unetr": _swin_shapes}[backbone](width)
        fine, coarse = (2 * width, 16 * width) if backbone == "unet" else (width, 16 * width)
        named = {f"backbone.{name}": shape for name, shape in shapes.items()}
        named |= _head_shapes(fine, coarse)
        if encoding == "text":
            named |= {"text_to_vision.weight": (256, 512), "text_to_vision.bias": (256,)}
            named["organ_embedding"] = (classes, 512)
        else:
            named["organ_embedding.weight"] = (classes, 256)
        if not values:
            return {name: torch.empty(shape, device="meta") for name, shape in named.items()}
        generator = torch.Generator().manual_seed(seed)
        state = {name: _random(name, shape, generator) for name, shape in named.items()}
        if encoding == "text":
            # Text features are much alike: a common part and a smaller one of each class.
            state["organ_embedding"] = 0.3 * state["organ_embedding"] + 0.4
        return state

    return make


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    import torch

    if name.endswith("relative_position_index"):
        return _relative_position_index()
    if name.endswith("num_batches_tracked"):
        return torch.tensor(7)
    values = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        is_scale = name.endswith(".weight")
        return 1.0 + 0.3 * values if is_scale else 0.3 * values
    fan_in = int(np.prod(shape[1:]))
    return values if "embedding" in name else values * (1.5 / fan_in) ** 0.5


def _relative_position_index() -> torch.Tensor:
    """Which of the 13^3 offsets lies between two of the 7^3 places in a window."""
    import torch

    places = torch.cartesian_prod(*(torch.arange(7),) * 3)
    offsets = places[:, None] - places[None] + 6
    return offsets @ torch.tensor([169, 13, 1])


def _head_shapes(fine: int, coarse: int) -> dict[str, tuple[int, ...]]:
    return {
        **{f"precls_conv.0.{kind}": (fine,) for kind in ("weight", "bias")},
        "precls_conv.2.weight": (8, fine, 1, 1, 1),
        "precls_conv.2.bias": (8,),
        **{f"GAP.0.{kind}": (coarse,) for kind in ("weight", "bias")},
        "GAP.3.weight": (256, coarse, 1, 1, 1),
        "GAP.3.bias": (256,),
        "controller.weight": (153, 512, 1, 1, 1),
        "controller.bias": (153,),
    }


def _unet_shapes(width: int) -> dict[str, tuple[int, ...]]:
    w = width
    down = {64: (1, w), 128: (2 * w, 2 * w), 256: (4 * w, 4 * w), 512: (8 * w, 8 * w)}
    up = {256: (16 * w, 8 * w), 128: (8 * w, 4 * w), 64: (4 * w, 2 * w)}
    convolutions: dict[str, tuple[int, int]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for level, (before, after) in down.items():
        convolutions[f"down_tr{level}.ops.0"] = (after, before)
        convolutions[f"down_tr{level}.ops.1"] = (2 * after, after)
    for level, (coarse, fine) in up.items():
        shapes[f"up_tr{level}.up_conv.weight"] = (coarse, coarse, 2, 2, 2)
        shapes[f"up_tr{level}.up_conv.bias"] = (coarse,)
        convolutions[f"up_tr{level}.ops.0"] = (fine, coarse + fine)
        convolutions[f"up_tr{level}.ops.1"] = (fine, fine)
    for block, (after, before) in convolutions.items():
        shapes[f"{block}.conv1.weight"] = (after, before, 3, 3, 3)
        vectors = ("conv1.bias", *(f"bn1.{kind}" for kind in ("weight", "bias")))
        shapes |= {f"{block}.{vector}": (after,) for vector in vectors}
        shapes |= {f"{block}.bn1.running_{kind}": (after,) for kind in ("mean", "var")}
        shapes[f"{block}.bn1.num_batches_tracked"] = ()
    return shapes


def _swin_shapes(width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"swinViT.patch_embed.proj.weight": (width, 1, 2, 2, 2)}
    shapes["swinViT.patch_embed.proj.bias"] = (width,)
    for stage, heads in enumerate((3, 6, 12, 24)):
        c, layer = width * 2**stage, f"swinViT.layers{stage + 1}.0"
        for block in (f"{layer}.blocks.0", f"{layer}.blocks.1"):
            vectors = {"norm1.weight": c, "norm1.bias": c, "norm2.weight": c, "norm2.bias": c}
            shapes |= {f"{block}.{name}": (size,) for name, size in vectors.items()}
            shapes[f"{block}.attn.relative_position_bias_table"] = (2197, heads)
            shapes[f"{block}.attn.relative_position_index"] = (343, 343)
            layers = {"attn.qkv": (3 * c, c), "attn.proj": (c, c)}
            layers |= {"mlp.linear1": (4 * c, c), "mlp.linear2": (c, 4 * c)}
            shapes |= {f"{block}.{name}.weight": shape for name, shape in layers.items()}
            shapes |= {f"{block}.{name}.bias": shape[:1] for name, shape in layers.items()}
        shapes[f"{layer}.downsample.reduction.weight"] = (2 * c, 8 * c)
        shapes |= {f"{layer}.downsample.norm.{kind}": (8 * c,) for kind in ("weight", "bias")}
    residual = {"encoder1.layer": (1, 1), "encoder2.layer": (1, 0), "encoder3.layer": (2, 0)}
    residual |= {"encoder4.layer": (4, 0), "encoder10.layer": (16, 0)}
    for block, (after, before) in residual.items():
        shapes |= _residual_shapes(block, after * width, before or after * width)
    for number, (coarse, fine) in {5: (16, 8), 4: (8, 4), 3: (4, 2), 2: (2, 1), 1: (1, 1)}.items():
        lift = f"decoder{number}.transp_conv.conv.weight"
        shapes[lift] = (coarse * width, fine * width, 2, 2, 2)
        shapes |= _residual_shapes(f"decoder{number}.conv_block", fine * width, 2 * fine * width)
    return shapes


def _residual_shapes(block: str, after: int, before: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{block}.conv1.conv.weight": (after, before, 3, 3, 3),
        f"{block}.conv2.conv.weight": (after, after, 3, 3, 3),
    }
    if before != after:
        shapes[f"{block}.conv3.conv.weight"] = (after, before, 1, 1, 1)
    return shapes
