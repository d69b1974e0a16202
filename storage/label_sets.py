"""Labels that lie in a folder: which files, of which case, for which structures."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from configs.errors import UsageError
from configs.layouts import load_layouts
from configs.taxonomy import load_taxonomy
from storage.cohort import read_cohort

LabelLayout = Literal["auto", "abdomenatlas", "totalsegmentator", "nnunet", "msd", "cohort"]

_IMAGE = re.compile(r"(?P<stem>.+?)\.nii(\.gz)?", re.I)
_MASK_FOLDER = "segmentations"
_SIDE_CAR = "provenance.json"
_BACKGROUND = "background"
_IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseLabels:
    """The label files of one case.

    Attributes:
        key: The case's name in the folder; may name a patient, so it is for the terminal alone.
        ct: The CT beside the labels; None where there is none.
        masks: Structure -> its own file; it counts before ``combined``.
        combined: A flat label map; None where every structure has its own file.
        values: Structure -> its values in ``combined``.
        other_values: Values of ``combined`` that are no structure of ours.
        annotated: Structures that somebody looked for; those without a voxel are absent.
        expected_voxels: Structure -> voxels that our own side-car gives it.
    """

    key: str
    ct: Path | None
    masks: Mapping[str, Path] = field(default_factory=dict)
    combined: Path | None = None
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    other_values: tuple[int, ...] = ()
    annotated: tuple[str, ...]
    expected_voxels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """What a folder of labels holds.

    Attributes:
        layout: How it was read.
        cases: By key.
        unknown_names: Names of files or labels that are no structure of ours.
    """

    layout: LabelLayout
    cases: tuple[CaseLabels, ...]
    unknown_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNaming:
    """What the caller says about a label set's names.

    Attributes:
        structures: What was annotated; told by the files where this is empty.
        renamed: Name in the files -> structure, before all other names.
    """

    structures: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def structure_of(self, name: str) -> str | None:
        """Return what a name means; None when it is foreign."""
        return self.renamed.get(name) or load_layouts().structure_of(name)


def find_label_set(
    folder: Path, layout: LabelLayout = "auto", naming: LabelNaming | None = None
) -> LabelSet:
    """Find the labels in a folder; reads label maps and side-cars, no image.

    - ``nnunet``: ``dataset.json`` with labels by name, ``labelsTr/CASE.nii.gz``;
    - ``msd``: ``dataset.json`` with names by label and a list of pairs;
    - ``abdomenatlas``, ``totalsegmentator``: folders with ``segmentations/NAME.nii.gz``, or with
      the masks themselves;
    - ``cohort``: as `atlasloop phantom` makes it; a missing mask stands for an empty one.

    A structure counts as annotated when our own side-car lists it, or the cohort's index; else when
    ``naming.structures`` names it; else when it has a file or a value.

    Raises:
        UsageError: The folder holds no labels of this layout, or its label map is not usable.
    """
    naming = naming or LabelNaming()
    load_taxonomy().select([*naming.structures, *naming.renamed.values()])
    if not folder.is_dir():
        raise UsageError(f"labels lie in a folder, {folder} is none")
    chosen = _layout_of(folder) if layout == "auto" else layout
    found = _READERS[chosen](folder, naming)
    if not found.cases:
        raise UsageError(
            f"no labels were found in {folder} as {chosen}; name the right --layout, and the "
            "structures' names as in the README's table"
        )
    return LabelSet(chosen, found.cases, found.unknown_names)


def _layout_of(folder: Path) -> LabelLayout:
    if (folder / "cohort.json").is_file():
        return "cohort"
    if (folder / "dataset.json").is_file():
        return "msd" if "training" in _dataset_json(folder) else "nnunet"
    return "abdomenatlas"


def _read_nnunet(folder: Path, naming: LabelNaming) -> LabelSet:
    dataset = _dataset_json(folder)
    ending = dataset.get("file_ending", ".nii.gz")
    if ending not in (".nii.gz", ".nii"):
        raise UsageError(f"file_ending must be .nii.gz or .nii, dataset.json says {ending!r}")
    pairs = []
    for path in sorted((folder / "labelsTr").glob(f"*{ending}")):
        if not path.name.startswith("."):
            case = path.name.removesuffix(ending)
            pairs.append((case, folder / "imagesTr" / f"{case}_0000{ending}", path))
    return _flat_label_set(folder, "nnunet", dataset, pairs, naming)


def _read_msd(folder: Path, naming: LabelNaming) -> LabelSet:
    dataset = _dataset_json(folder)
    pairs = []
    training = dataset.get("training")
    for entry in training if isinstance(training, list) else []:
        if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
            raise UsageError(f"training must list pairs of image and label, got {entry!r}")
        label = _inside(folder, entry["label"])
        if not label.name.startswith("."):
            pairs.append((_stem(label), _inside(folder, entry["image"]), label))
    return _flat_label_set(folder, "msd", dataset, pairs, naming)


def _flat_label_set(
    folder: Path,
    layout: LabelLayout,
    dataset: Mapping[str, Any],
    pairs: Sequence[tuple[str, Path, Path]],
    naming: LabelNaming,
) -> LabelSet:
    """Return the cases of a set with one label map a case and one list of names for all."""
    values: dict[str, tuple[int, ...]] = {}
    other: list[int] = []
    unknown: list[str] = []
    for name, numbers in _label_values(dataset):
        structure = naming.structure_of(name)
        if structure is not None:
            values[structure] = (*values.get(structure, ()), *numbers)
        elif name not in (_BACKGROUND, _IGNORE):
            unknown.append(name)
            other += numbers
    cases = []
    for case, image, label in pairs:
        side_car = folder / "provenance" / f"{case}.json"
        listed = _side_car_voxels(side_car)
        own_files = {} if listed is None else _side_car_files(side_car)
        cases.append(
            CaseLabels(
                key=case,
                ct=image if image.is_file() else None,
                masks={name: _inside(folder, path) for name, path in own_files.items()},
                combined=label,
                values=values,
                other_values=tuple(other),
                annotated=_annotated(listed, naming, values),
                expected_voxels=listed or {},
            )
        )
    return LabelSet(layout, tuple(cases), tuple(unknown))


def _read_masks(folder: Path, naming: LabelNaming) -> LabelSet:
    cases = []
    unknown: set[str] = set()
    for case_folder, mask_folder in _mask_folders(folder, naming):
        masks: dict[str, Path] = {}
        for name, path in _images(mask_folder):
            structure = naming.structure_of(name)
            if structure is not None:
                masks[structure] = path
            elif mask_folder != case_folder:
                unknown.add(name)
        listed = _side_car_voxels(case_folder / _SIDE_CAR)
        cases.append(
            CaseLabels(
                key=case_folder.name,
                ct=_ct_in(case_folder),
                masks=masks,
                annotated=_annotated(listed, naming, masks),
                expected_voxels=listed or {},
            )
        )
    return LabelSet("abdomenatlas", tuple(cases), tuple(sorted(unknown)))


def _read_cohort(folder: Path, naming: LabelNaming) -> LabelSet:
    cases = []
    for case in read_cohort(folder).cases:
        files = dict(_images(case.folder / _MASK_FOLDER))
        masks = {name: files[name] for name in case.annotated if name in files}
        annotated = load_taxonomy().select(naming.structures or case.annotated)
        cases.append(CaseLabels(key=case.case, ct=case.ct_path, masks=masks, annotated=annotated))
    return LabelSet("cohort", tuple(cases), ())


_READERS = {
    "nnunet": _read_nnunet,
    "msd": _read_msd,
    "abdomenatlas": _read_masks,
    "totalsegmentator": _read_masks,
    "cohort": _read_cohort,
}


def _annotated(
    listed: Mapping[str, int] | None, naming: LabelNaming, present: Mapping[str, object]
) -> tuple[str, ...]:
    if listed is not None and naming.structures:
        return tuple(x for x in load_taxonomy().select(naming.structures) if x in listed)
    return load_taxonomy().select(list(listed or naming.structures or present))


def _mask_folders(folder: Path, naming: LabelNaming) -> Iterator[tuple[Path, Path]]:
    """Yield a case's folder and the folder with its masks, sorted; hidden ones are passed over."""
    for at, folder_names, _ in os.walk(folder):
        here = Path(at)
        has_mask_folder = _MASK_FOLDER in folder_names
        folder_names[:] = sorted(
            name for name in folder_names if not name.startswith(".") and name != _MASK_FOLDER
        )
        if has_mask_folder:
            yield here, here / _MASK_FOLDER
        elif any(naming.structure_of(name) for name, _ in _images(here)):
            yield here, here


def _images(folder: Path) -> list[tuple[str, Path]]:
    """Return stem and path of every visible image of a folder, sorted."""
    if not folder.is_dir():
        return []
    matches = [
        (_IMAGE.fullmatch(path.name), path)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and path.is_file()
    ]
    return [(match["stem"], path) for match, path in matches if match is not None]


def _ct_in(folder: Path) -> Path | None:
    for name in ("ct.nii.gz", "ct.nii"):
        if (folder / name).is_file():
            return folder / name
    return None


def _side_car_voxels(path: Path) -> dict[str, int] | None:
    """Return structure -> voxels as our own side-car lists them; None without a side-car."""
    try:
        entries = json.loads(path.read_bytes())["structures"]
        listed = {str(entry["structure"]): int(entry["voxels"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return listed if set(listed) <= set(load_taxonomy().names) else None


def _side_car_files(path: Path) -> dict[str, str]:
    """Return structure -> file of those that our own side-car gives a file, beside a flat map."""
    entries = json.loads(path.read_bytes())["structures"]
    return {entry["structure"]: entry["file"] for entry in entries if entry.get("file")}


def _dataset_json(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"this layout needs a dataset.json in {folder}; {error}") from error
    except ValueError as error:
        raise UsageError(f"{path} must be JSON; {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        raise UsageError(f"{path} must be an object with `labels`")
    return content


def _label_values(dataset: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and values of every label, whichever way round the file has them.

    nnU-Net writes name -> value, or name -> list of values for overlapping regions; the Decathlon
    writes value -> name.
    """
    for key, value in dataset["labels"].items():
        try:
            if isinstance(value, str):
                yield value, (int(key),)
            elif isinstance(value, list):
                yield key, tuple(int(number) for number in value)
            else:
                yield key, (int(value),)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"labels of dataset.json map names and whole numbers, got {key!r}: {value!r}"
            ) from error


def _inside(folder: Path, relative: object) -> Path:
    """Return a path of a file list; refuses one that leaves the folder."""
    parts = PurePosixPath(str(relative))
    if parts.is_absolute() or ".." in parts.parts:
        raise UsageError(f"paths of dataset.json stay inside its folder, got {relative!r}")
    return folder / parts


def _stem(path: Path) -> str:
    match = _IMAGE.fullmatch(path.name)
    return path.name if match is None else match["stem"]
