"""A cohort folder: CTs with the masks that their site shares, and the whole truth hidden beside.

``OUT/<site>/<case>/ct.nii.gz`` and ``segmentations/<structure>.nii.gz`` are what a site hands out;
``OUT/.truth/<site>/<case>/`` holds every structure and the case's record; ``OUT/cohort.json``,
written last, lists the cases. A mask file that is not there stands for an empty mask.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import numpy.typing as npt
from isal import igzip, igzip_lib
from nibabel.filebasedimages import ImageFileError
from pydantic import BaseModel, ConfigDict, ValidationError

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy, shipped_taxonomy
from storage.canonical_json import sha256_hex, to_bytes

SCHEMA_VERSION = 1
_INDEX = "cohort.json"
_PLAN = "plan.json"
_TRUTH = ".truth"
_LEVEL = 1
# isal's stubs type its exception as an instance.
_DAMAGED_DEFLATE = cast(type[Exception], igzip_lib.IsalError)

Mask = npt.NDArray[np.bool_]


class CohortLesion(BaseModel):
    """One tumor or cyst in the field of view, under one of the names that it goes by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    structure: str
    host: str
    diameter_mm: float
    volume_ml: float


class CaseRecord(BaseModel):
    """What the index says about a case.

    Attributes:
        site: Site that scanned it; a folder name.
        role: ``train`` or ``unseen``.
        case: Name of the case; a folder name, unique in the cohort.
        patient: Who was scanned.
        seed: Seed of the phantom.
        annotated: Structures whose masks the site shares, also where they are empty.
        facts: Sex, phase, field of view and the like.
        lesions: All lesions in view.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: str
    role: str
    case: str
    patient: str
    seed: int
    annotated: tuple[str, ...]
    facts: dict[str, Any]
    lesions: tuple[CohortLesion, ...]


class _Index(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    seed: int
    cases: tuple[CaseRecord, ...]


@dataclass(frozen=True, slots=True)
class CohortCase:
    """One case of a cohort; arrays are read on demand.

    Attributes:
        root: Folder of the cohort.
        record: What the index says about the case.
    """

    root: Path
    record: CaseRecord

    @property
    def site(self) -> str:
        """Site that scanned the case."""
        return self.record.site

    @property
    def case(self) -> str:
        """Name of the case."""
        return self.record.case

    @property
    def patient(self) -> str:
        """Who was scanned."""
        return self.record.patient

    @property
    def annotated(self) -> tuple[str, ...]:
        """Structures whose masks the site shares."""
        return self.record.annotated

    @property
    def folder(self) -> Path:
        """Folder with the CT and the shared masks."""
        return self.root / self.record.site / self.record.case

    @property
    def ct_path(self) -> Path:
        """The CT."""
        return self.folder / "ct.nii.gz"

    def read_hu(self) -> tuple[npt.NDArray[np.int16], tuple[float, float, float]]:
        """Return HU, shape (I, J, K) in RAS, and the spacing in mm.

        Raises:
            UsageError: The file is missing or damaged.
        """
        image = _load(self.ct_path)
        i, j, k = (float(value) for value in image.header.get_zooms()[:3])
        return _array(image, self.ct_path).astype(np.int16, copy=False), (i, j, k)

    def read_labels(self) -> dict[str, Mask]:
        """Return the shared masks by structure, shape (I, J, K); only annotated structures.

        Raises:
            UsageError: A file is damaged or on another grid than the CT.
        """
        return self._read_masks(self.folder / "segmentations", self.annotated)

    def read_label(self, structure: str, shape: tuple[int, ...]) -> Mask:
        """Return one shared mask.

        Args:
            structure: One that the site annotates.
            shape: Of the CT, (I, J, K); the mask must have it.

        Raises:
            UsageError: As ``read_labels``.
        """
        return _mask_or_empty(self.label_path(structure), shape)

    def label_path(self, structure: str) -> Path:
        """Return where a shared mask lies; there is no file where it is empty."""
        return self.folder / "segmentations" / f"{structure}.nii.gz"

    def read_truth(self) -> dict[str, Mask]:
        """Return the masks of all shipped structures and the annotated others, shape (I, J, K).

        Raises:
            UsageError: The hidden truth was removed, or a file is damaged.
        """
        folder = self.root / _TRUTH / self.record.site / self.record.case
        if not folder.is_dir():
            raise UsageError(
                f"the truth of a cohort lies in its hidden folder {_TRUTH}; case {self.case} has "
                "none there; make the cohort again"
            )
        known = {*shipped_taxonomy().names, *self.annotated}
        names = [name for name in load_taxonomy().names if name in known]
        return self._read_masks(folder, names)

    def _read_masks(self, folder: Path, names: Iterable[str]) -> dict[str, Mask]:
        shape = _load(self.ct_path).shape
        return {name: _mask_or_empty(folder / f"{name}.nii.gz", shape) for name in names}


@dataclass(frozen=True, slots=True)
class Cohort:
    """A finished cohort.

    Attributes:
        root: Its folder.
        seed: Seed that it was made from.
        cases: All cases in the order they were made.
    """

    root: Path
    seed: int
    cases: tuple[CohortCase, ...]


def read_cohort(path: Path) -> Cohort:
    """Return the cohort in a folder; reads its index alone.

    Raises:
        UsageError: The folder holds no finished cohort, or one of another version.
    """
    index_path = path / _INDEX
    if not index_path.is_file():
        raise UsageError(_missing_index(path))
    try:
        content = json.loads(index_path.read_text(encoding="utf-8"))
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UsageError(
                f"a cohort must have schema version {SCHEMA_VERSION}, {index_path.name} has "
                f"{version}; make it again"
            )
        index = _Index.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, ValidationError) as error:
        raise UsageError(
            f"{_INDEX} must be the index of a cohort: {error}; make the cohort again"
        ) from error
    cases = tuple(CohortCase(path, record) for record in index.cases)
    absent = [case.case for case in cases if not case.ct_path.is_file()]
    if absent:
        raise UsageError(
            f"every case that {_INDEX} lists must have a ct.nii.gz; {len(absent)} have none, first "
            f"{absent[0]}; make the cohort again in an empty folder"
        )
    return Cohort(path, index.seed, cases)


def _missing_index(path: Path) -> str:
    if not path.is_dir():
        return f"a cohort is a folder with {_INDEX}; {path} is no folder; see `atlasloop phantom`"
    if (path / _TRUTH / _PLAN).exists():
        return f"the cohort {path} is half made; run the same `atlasloop phantom` command again"
    return f"a cohort is a folder with {_INDEX}; {path} has none; see `atlasloop phantom`"


def begin_cohort(out: Path, *, seed: int, sites_digest: str) -> None:
    """Claim a folder for a cohort, or accept the one that was begun there with the same plan.

    Args:
        out: Folder to make; must be empty, new, or hold a cohort of the same plan.
        seed: Seed of the cohort.
        sites_digest: Digest of whatever else decides on the content: sites, generator version.

    Raises:
        UsageError: The folder holds something else.
    """
    plan = {"schema_version": SCHEMA_VERSION, "seed": seed, "sites": sites_digest}
    plan_path = out / _TRUTH / _PLAN
    if plan_path.is_file():
        if plan_path.read_bytes() != to_bytes(plan):
            raise UsageError(
                f"a cohort is continued only with the seed, sites and version that it was begun "
                f"with; {out} was begun with others; choose an empty folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"a cohort needs an empty or new folder, {out} is not; choose another")
    plan_path.parent.mkdir(parents=True, exist_ok=True)
    _write_atomically(plan_path, to_bytes(plan))


def digest(value: object) -> str:
    """Return the digest of a JSON value, for ``begin_cohort``."""
    return sha256_hex(to_bytes(value))


def is_finished(out: Path, site: str, case: str) -> bool:
    """Return whether a case is wholly written."""
    return (out / site / case).is_dir()


def write_case(
    out: Path,
    record: CaseRecord,
    *,
    hu: npt.NDArray[np.int16],
    spacing_mm: Sequence[float],
    masks: Mapping[str, Mask],
) -> None:
    """Write one case: truth first, then what the site shares; both appear by renaming a folder.

    Args:
        out: Folder of the cohort, claimed by ``begin_cohort``.
        record: What the index will say.
        hu: Radiodensity, shape (I, J, K) in RAS.
        spacing_mm: Voxel size.
        masks: Truth of every structure, shape (I, J, K); empty ones are not written.
    """
    affine = _affine(hu.shape, spacing_mm)
    files = {
        name: _nifti_bytes(mask.view(np.uint8), affine)
        for name, mask in masks.items()
        if mask.any()
    }
    truth = {f"{name}.nii.gz": data for name, data in files.items()}
    truth["case.json"] = to_bytes(record.model_dump(mode="json"))
    shared = {
        f"segmentations/{name}.nii.gz": files[name] for name in record.annotated if name in files
    }
    shared["ct.nii.gz"] = _nifti_bytes(hu, affine)
    _write_folder(out / _TRUTH / record.site / record.case, truth)
    _write_folder(out / record.site / record.case, shared)


def finish_cohort(out: Path, *, seed: int, cases: Sequence[tuple[str, str]]) -> Cohort:
    """Write the index of the given (site, case) pairs, all of them finished; return the cohort."""
    records = [
        CaseRecord.model_validate_json((out / _TRUTH / site / case / "case.json").read_bytes())
        for site, case in cases
    ]
    index = _Index(schema_version=SCHEMA_VERSION, seed=seed, cases=tuple(records))
    text = json.dumps(index.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    _write_atomically(out / _INDEX, text.encode("utf-8"))
    return read_cohort(out)


def _affine(shape: tuple[int, ...], spacing_mm: Sequence[float]) -> npt.NDArray[np.float64]:
    affine = np.diag([*spacing_mm, 1.0]).astype(float)
    affine[:3, 3] = -np.array(spacing_mm) * (np.array(shape) - 1) / 2
    return affine


def _nifti_bytes(array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> bytes:
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return igzip.compress(image.to_bytes(), _LEVEL, mtime=0)


def _write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.part"
    for old in (temporary, target):
        if old.exists():
            shutil.rmtree(old)
    for name, data in files.items():
        path = temporary / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (temporary).rename(target)


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _load(path: Path) -> nibabel.Nifti1Image:
    # Unpacked at once: nibabel would go over the packed file three times.
    try:
        image = nibabel.Nifti1Image.from_bytes(igzip.decompress(path.read_bytes()))
    except (OSError, EOFError, _DAMAGED_DEFLATE, ImageFileError) as error:
        raise UsageError(_damaged(path)) from error
    if not isinstance(image, nibabel.Nifti1Image) or len(image.shape) != 3:
        raise UsageError(_damaged(path))
    if nibabel.aff2axcodes(image.affine) != ("R", "A", "S"):
        raise UsageError(f"images of a cohort must be stored in RAS order, {path.name} is not")
    return image


def _array(image: nibabel.Nifti1Image, path: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(image.dataobj)
    except (OSError, EOFError, ValueError) as error:
        raise UsageError(_damaged(path)) from error


def _mask_or_empty(path: Path, shape: tuple[int, ...]) -> Mask:
    return _mask(path, shape) if path.exists() else np.zeros(shape, np.bool_)


def _mask(path: Path, shape: tuple[int, ...]) -> Mask:
    array = _array(_load(path), path)
    if array.shape != shape:
        raise UsageError(
            f"masks of a cohort share the CT's grid {shape}, {path.name} has {array.shape}; "
            "make the cohort again"
        )
    return array > 0


def _damaged(path: Path) -> str:
    return (
        f"a cohort holds whole 3-D NIfTI files; {path.parent.name}/{path.name} is missing or "
        "damaged; make the cohort again in an empty folder"
    )
