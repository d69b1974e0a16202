"""Which files of a folder are the cases of a dataset, told by the layout of its connector."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from configs.connectors import Dataset, FolderLayout, load_datasets
from configs.errors import UsageError

_FIELD = re.compile(r"\{(?P<name>id|split|part|source|name|structure)(:0(?P<digits>\d+)d)?\}|\*")
_FIELDS = {
    "split": "[A-Za-z]+",
    "part": r"\d+",
    "source": "[^/]+",
    "name": "[^/]+",
    "structure": "[^/]+",
}
_NIFTI_END = re.compile(r"\.nii(\.gz)?$")
_EXAMPLES = 3

Key = tuple[tuple[str, str], ...]
"""Field -> what it holds in a path, sorted; numbers without leading zeros."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCase:
    """The files of one case.

    Attributes:
        name: Its name in the dataset; a number where the layout has numbers.
        number: That number; None without.
        image: The CT.
        combined: Its label map; None without.
        masks: Name of a structure's file -> the file.
    """

    name: str
    number: int | None
    image: Path
    combined: Path | None = None
    masks: Mapping[str, Path] = field(default_factory=dict)

    @property
    def has_labels(self) -> bool:
        """Whether any label file belongs to the case."""
        return self.combined is not None or bool(self.masks)


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """What a folder holds of a dataset.

    Attributes:
        cases: In the order of their numbers or names.
        excluded: Cases that the connector passes over, and why.
        ambiguous: Names of cases with several CTs; none of these is taken.
        without_ct: Label files whose CT is not there.
    """

    cases: tuple[DatasetCase, ...]
    excluded: tuple[tuple[str, str], ...]
    ambiguous: tuple[str, ...]
    without_ct: int


@dataclass(frozen=True, slots=True)
class _Patterns:
    """A layout seen from one of its outer folders, as expressions over relative paths."""

    image: re.Pattern[str]
    label: re.Pattern[str]
    unlabeled: tuple[re.Pattern[str], ...]
    pairing: frozenset[str]


@dataclass(slots=True)
class _Found:
    """Files by case."""

    images: dict[Key, list[Path]] = field(default_factory=dict)
    unlabeled: dict[Key, list[Path]] = field(default_factory=dict)
    labels: dict[Key, dict[str, Path]] = field(default_factory=dict)


def find_dataset_files(folder: Path, dataset: Dataset) -> DatasetFolder:
    """Find a dataset's cases; looks at names alone.

    The folder may be the one above the layout or any of the layout's own outer folders. Hidden
    files are passed over. Of several layouts the one with most labeled cases counts.

    Args:
        folder: Where the dataset lies.
        dataset: Its connector.

    Raises:
        UsageError: The dataset needs a reader that is not there, or lies otherwise.
    """
    if dataset.needs != "nifti":
        raise UsageError(
            f"{dataset.id} needs the {_READERS[dataset.needs]}, not there yet; convert its CTs to "
            "NIfTI and take them in with `atlasloop intake PATH`, its labels to NIfTI on the CTs' "
            "grids for `atlasloop import-labels`"
        )
    if not folder.is_dir():
        raise UsageError(f"a dataset lies in a folder, {folder} is none")
    files = _nifti_files(folder)
    best: tuple[int, int] = (0, 0)
    found = _Found()
    patterns = None
    for candidate in _all_patterns(dataset):
        matched = _matched(folder, files, candidate)
        count = (_labeled(matched, candidate), len(matched.images) + len(matched.unlabeled))
        if count > best:
            best, found, patterns = count, matched, candidate
    if patterns is None:
        raise UsageError(_other_layout(folder, dataset, files))
    if dataset.map and best[0] == 0 and not found.unlabeled:
        raise UsageError(
            f"labels of {dataset.id} lie as {_label_layouts(dataset)}, but {folder} holds none of "
            f"its {best[1]} CTs' labels there; {_remedy(dataset)}; for the CTs alone run "
            "`atlasloop intake PATH` without --dataset"
        )
    return _folder(found, patterns, dataset)


_READERS = {"dicom": "DICOM reader", "dicom and png": "DICOM and PNG readers"}


def fitting_datasets(files: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of the datasets in whose layout any of some relative paths lies."""
    return tuple(
        dataset.id
        for dataset in load_datasets().values()
        if dataset.needs == "nifti"
        and dataset.map
        and any(
            patterns.image.fullmatch(path) for patterns in _all_patterns(dataset) for path in files
        )
    )


def _folder(found: _Found, patterns: _Patterns, dataset: Dataset) -> DatasetFolder:
    cases: list[DatasetCase] = []
    excluded: list[tuple[str, str]] = []
    ambiguous: list[str] = []
    labeled: set[Key] = set()
    for images, labels in ((found.images, found.labels), (found.unlabeled, {})):
        for key, paths in images.items():
            name, number = _name_of(key)
            pair = _paired(key, patterns)
            labeled.add(pair)
            why = dataset.why_excluded(number)
            if why is not None:
                excluded.append((name, why))
            elif len(paths) > 1:
                ambiguous.append(name)
            else:
                cases.append(_case(name, number, paths[0], labels.get(pair, {})))
    cases.sort(key=lambda case: (case.number is None, case.number or 0, case.name))
    without_ct = sum(1 for key in found.labels if key not in labeled)
    return DatasetFolder(tuple(cases), tuple(excluded), tuple(ambiguous), without_ct)


def _case(name: str, number: int | None, image: Path, labels: Mapping[str, Path]) -> DatasetCase:
    masks = {structure: path for structure, path in labels.items() if structure}
    return DatasetCase(name=name, number=number, image=image, combined=labels.get(""), masks=masks)


def _name_of(key: Key) -> tuple[str, int | None]:
    """Return a case's name, and its number where it has one."""
    fields = dict(key)
    if "id" in fields:
        return fields["id"], int(fields["id"])
    return "/".join(value for _, value in sorted(key, reverse=True)), None


def _matched(folder: Path, files: Sequence[str], patterns: _Patterns) -> _Found:
    found = _Found()
    for relative in files:
        path = folder / relative
        label = patterns.label.fullmatch(relative)
        if label is not None:
            fields = label.groupdict()
            structure = fields.pop("structure", None) or ""
            found.labels.setdefault(_paired(_key(fields), patterns), {})[structure] = path
            continue
        image = patterns.image.fullmatch(relative)
        if image is not None:
            found.images.setdefault(_case_key(image), []).append(path)
            continue
        for pattern in patterns.unlabeled:
            other = pattern.fullmatch(relative)
            if other is not None:
                found.unlabeled.setdefault(_case_key(other), []).append(path)
                break
    return found


def _labeled(found: _Found, patterns: _Patterns) -> int:
    return sum(1 for key in found.images if _paired(key, patterns) in found.labels)


def _case_key(match: re.Match[str]) -> Key:
    """Return who a CT is: its number where it has one, whatever part or split it lies in."""
    fields = match.groupdict()
    if "id" in fields:
        fields = {name: fields[name] for name in fields if name in ("id", "split")}
    return _key(fields)


def _key(fields: Mapping[str, str]) -> Key:
    return tuple(sorted((name, str(int(x)) if name == "id" else x) for name, x in fields.items()))


def _paired(key: Key, patterns: _Patterns) -> Key:
    return tuple((name, value) for name, value in key if name in patterns.pairing)


def _all_patterns(dataset: Dataset) -> Iterator[_Patterns]:
    """Yield every layout of a dataset, from its top folder and from each of the outer ones."""
    for layout in dataset.layouts:
        for depth in range(_outer_folders(layout) + 1):
            yield _patterns(layout, depth)


def _outer_folders(layout: FolderLayout) -> int:
    """Return how many folders CTs and labels share that are the same for every case."""
    shared = 0
    for mine, other in zip(_parents(layout.image), _parents(layout.label), strict=False):
        if mine != other or "{" in mine:
            break
        shared += 1
    return shared


def _parents(pattern: str) -> list[str]:
    return pattern.split("/")[:-1]


def _patterns(layout: FolderLayout, depth: int) -> _Patterns:
    outer = _parents(layout.image)[:depth]
    image, label = (_compiled(_inner(text, depth)) for text in (layout.image, layout.label))
    unlabeled = tuple(
        _compiled(_inner(text, depth))
        for text in layout.unlabeled
        if text.split("/")[:depth] == outer
    )
    shared = set(image.groupindex) & set(label.groupindex)
    return _Patterns(image, label, unlabeled, frozenset(shared))


def _inner(pattern: str, depth: int) -> str:
    return "/".join(pattern.split("/")[depth:])


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern as an expression; a field that comes twice is the same both times."""
    stem = _NIFTI_END.sub("", pattern)
    parts: list[str] = []
    seen: set[str] = set()
    place = 0
    for match in _FIELD.finditer(stem):
        parts.append(re.escape(stem[place : match.start()]))
        place = match.end()
        name = match["name"]
        if name is None:
            parts.append("[^/]*")
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            number = rf"\d{{{match['digits']},}}" if match["digits"] else r"\d+"
            parts.append(f"(?P<{name}>{_FIELDS.get(name, number)})")
            seen.add(name)
    parts.append(re.escape(stem[place:]))
    return re.compile("".join(parts) + r"\.nii(\.gz)?")


def _nifti_files(folder: Path) -> list[str]:
    """Return the paths of all visible NIfTI files below a folder, relative to it, sorted."""
    found: list[str] = []
    for at, folder_names, file_names in os.walk(folder, followlinks=True):
        folder_names[:] = sorted(
            name for name in folder_names if not name.startswith(".") and name != "__MACOSX"
        )
        here = Path(at).relative_to(folder)
        found += [
            (here / name).as_posix()
            for name in sorted(file_names)
            if not name.startswith(".") and _NIFTI_END.search(name)
        ]
    return found


def _other_layout(folder: Path, dataset: Dataset, files: Sequence[str]) -> str:
    if not files:
        return f"{folder} holds no NIfTI file; {_expected(dataset)}; {_remedy(dataset)}"
    shown = ", ".join(_one_a_folder(files))
    fitting = [name for name in fitting_datasets(files) if name != dataset.id]
    looks = f"; this is the layout of {' or '.join(fitting)}" if fitting else ""
    return (
        f"{_expected(dataset)}; {folder} holds {len(files)} NIfTI files such as {shown}{looks}; "
        f"{_remedy(dataset)}"
    )


def _one_a_folder(files: Sequence[str]) -> Iterable[str]:
    first: dict[str, str] = {}
    for path in files:
        first.setdefault(path.rpartition("/")[0], path)
    return list(first.values())[:_EXAMPLES]


def _expected(dataset: Dataset) -> str:
    layouts = " or ".join(layout.image for layout in dataset.layouts)
    return f"CTs of {dataset.id} lie as {layouts}, labels as {_label_layouts(dataset)}"


def _label_layouts(dataset: Dataset) -> str:
    return " or ".join(layout.label for layout in dataset.layouts)


def _remedy(dataset: Dataset) -> str:
    return (
        f"give the folder above these paths, or see `atlasloop datasets show {dataset.id}` and "
        "`atlasloop datasets list`"
    )
