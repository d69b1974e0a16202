"""Fixtures for every test: the real data beside the checkout, small CTs and bad files made here."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


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
