"""Dataset connectors: how public datasets lie on disk and what their labels mean, as data."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError, UsageError
from configs.taxonomy import load_taxonomy

LicenseFlag = Literal["permissive", "registration", "copyleft", "nc", "nc-nd", "copyleft-nc"]
Needs = Literal["nifti", "dicom", "dicom and png"]
Presence = Literal["all", "occurring", "files"]
IdRange = tuple[int, int]
"""First and last number of cases, both included."""

LICENSE_MEANING: dict[LicenseFlag, str] = {
    "permissive": "free use with attribution",
    "registration": "free use with attribution; an account is needed",
    "copyleft": "share alike",
    "nc": "non-commercial",
    "nc-nd": "non-commercial, no derivatives: derived labels may not be passed on",
    "copyleft-nc": "share alike, research only",
}

STRUCTURE_FIELD = "{structure}"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetLicense(_Data):
    """Under which terms a dataset comes.

    Attributes:
        name: As its host states it.
        flag: What follows from it for a model that was trained on it.
        checked: Whether somebody read it at the source.
    """

    name: str
    flag: LicenseFlag
    checked: str


class Confidence(_Data):
    """Where the facts come from, of values and of names on disk."""

    labels: str
    layout: str


class FolderLayout(_Data):
    """One way in which a dataset lies on disk.

    Patterns are paths with ``/``. ``{id}`` is a number, ``{id:04d}`` one of at least four digits,
    ``{split}`` letters, ``{part}`` a number, ``{source}``, ``{name}`` and ``{structure}`` a name,
    ``*`` anything inside a name. ``.nii`` and ``.nii.gz`` stand for each other.

    Attributes:
        image: The CT of a case.
        label: Its label map, or its files by structure where the pattern has ``{structure}``.
        unlabeled: CTs that come without labels.
    """

    image: str
    label: str
    unlabeled: tuple[str, ...] = ()

    @property
    def has_structure_files(self) -> bool:
        """Whether every structure has its own file."""
        return STRUCTURE_FIELD in self.label


class StructureSource(_Data):
    """Where the mask of one structure comes from.

    Attributes:
        values: Values of the label map, whose union is the mask.
        files: Files by structure, whose union is the mask.
        split: Holds both sides of a pair; the side of the body decides.
        weak: Kept for comparison, not for the supervised loss.
        note: How it differs from what the structure means.
    """

    values: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    split: bool = False
    weak: bool = False
    note: str = ""


class CaseOverride(_Data):
    """What differs for some cases.

    Attributes:
        ids: Which ones.
        annotated: Structures that were looked for there; all of the map where left out.
        weak: Structures that are weak there.
    """

    ids: IdRange
    annotated: tuple[str, ...] | None = None
    weak: tuple[str, ...] = ()
    why: str


class Exclusion(_Data):
    """Cases that are passed over."""

    ids: IdRange
    why: str


class Overlap(_Data):
    """Scans that a dataset shares with another one.

    Attributes:
        dataset: The other one's id, or its title where it is not listed here.
        is_listed: Whether it is.
        ids: Which cases here, where numbers tell it.
        their_ids: Which cases there.
        same_order: Whether the n-th here is the n-th there; else any may be any.
    """

    dataset: str
    relation: str
    is_listed: bool = True
    ids: IdRange | None = None
    their_ids: IdRange | None = None
    same_order: bool = True

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if (self.ids is None) != (self.their_ids is None):
            raise ValueError("ids and their_ids stand together or not at all")
        if self.ids is not None and self.their_ids is not None and self.same_order:
            lengths = [last - first for first, last in (self.ids, self.their_ids)]
            if lengths[0] != lengths[1]:
                raise ValueError("ranges in the same order must have one length")
        return self


class Dataset(_Data):
    """One public dataset.

    Attributes:
        id: Its key; the source of its labels is ``dataset:ID``.
        title: Words for people.
        needs: What must be read; only NIfTI can be, so far.
        presence: Which structures of the map a case annotates: all; those whose value occurs in its
            label map; or those that have a file.
        labeled: Cases with labels, as published.
        unlabeled: CTs without, as published.
        ids: Its cases' numbers, for people.
        notes: What a user must know.
        layouts: Ways in which it lies on disk, the best one first.
        labels: Every value that its label maps may hold, and what the dataset calls it.
        map: Structure -> where its mask comes from; empty for CTs alone.
    """

    id: str = Field(pattern=r"[a-z0-9][a-z0-9_]*")
    title: str
    needs: Needs
    presence: Presence = "all"
    labeled: int
    unlabeled: int = 0
    ids: str = ""
    notes: tuple[str, ...] = ()
    license: DatasetLicense
    confidence: Confidence
    layouts: tuple[FolderLayout, ...] = Field(min_length=1)
    labels: dict[int, str] = {}
    map: dict[str, StructureSource] = {}
    overrides: tuple[CaseOverride, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    overlaps: tuple[Overlap, ...] = ()

    @model_validator(mode="after")
    def _check_map(self) -> Self:
        unknown = [name for name in self.map if name not in load_taxonomy().names]
        if unknown:
            raise ValueError(f"the map names unknown structures: {', '.join(unknown)}")
        if 0 in self.labels:
            raise ValueError("0 is background and stands for nothing else")
        for name, source in self.map.items():
            self._check_source(name, source)
        for override in self.overrides:
            strange = {*(override.annotated or ()), *override.weak} - set(self.map)
            if strange:
                raise ValueError(f"an override names {sorted(strange)}, which the map has not")
        return self

    def _check_source(self, name: str, source: StructureSource) -> None:
        if not (source.values or source.files):
            raise ValueError(f"{name} needs values or files")
        undeclared = set(source.values) - set(self.labels)
        if undeclared:
            raise ValueError(f"{name} uses the undeclared values {sorted(undeclared)}")
        if not source.split:
            return
        if load_taxonomy()[name].side is None:
            raise ValueError(f"{name} has no side, so nothing can be split into it")
        other = self.map.get(other_side(name))
        if other is None or other.values != source.values or not other.split:
            raise ValueError(f"{name} must be split from the same values as {other_side(name)}")

    @property
    def annotated(self) -> tuple[str, ...]:
        """The structures of the map, in the taxonomy's order."""
        return load_taxonomy().select(list(self.map))

    def annotated_in(self, number: int | None) -> tuple[str, ...]:
        """Return the structures that were looked for in the case of a number."""
        for override in self.overrides:
            if override.annotated is not None and is_within(number, override.ids):
                return load_taxonomy().select(override.annotated)
        return self.annotated

    def weak_in(self, number: int | None) -> frozenset[str]:
        """Return the structures that are weak in the case of a number."""
        weak = {name for name, source in self.map.items() if source.weak}
        for override in self.overrides:
            if is_within(number, override.ids):
                weak.update(override.weak)
        return frozenset(weak)

    def why_excluded(self, number: int | None) -> str | None:
        """Return why the case of a number is passed over; None where it is not."""
        for exclusion in self.exclusions:
            if is_within(number, exclusion.ids):
                return exclusion.why
        return None


def is_within(number: int | None, ids: IdRange) -> bool:
    """Whether a case's number lies in a range; a case without a number lies in none."""
    return number is not None and ids[0] <= number <= ids[1]


def other_side(structure: str) -> str:
    """Return the structure of the same pair on the other side, such as ``kidney_left``."""
    for mine, other in (("_right", "_left"), ("_left", "_right")):
        if structure.endswith(mine):
            return structure.removesuffix(mine) + other
    raise UsageError(f"{structure} is none of a pair")


@cache
def load_datasets() -> dict[str, Dataset]:
    """Return the shipped datasets by id, sorted.

    Raises:
        ConfigError: A file breaks a rule.
    """
    folder = resources.files("configs").joinpath("datasets")
    found: dict[str, Dataset] = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not entry.name.endswith(".toml"):
            continue
        try:
            dataset = Dataset.model_validate(tomllib.loads(entry.read_text(encoding="utf-8")))
        except (ValidationError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"datasets/{entry.name} is not valid: {error}") from error
        if entry.name != f"{dataset.id}.toml":
            raise ConfigError(f"a dataset lies in a file of its id, {entry.name} has {dataset.id}")
        found[dataset.id] = dataset
    for dataset in found.values():
        strange = [x.dataset for x in dataset.overlaps if x.is_listed and x.dataset not in found]
        if strange:
            raise ConfigError(f"{dataset.id} overlaps with {strange[0]!r}, which is not listed")
    return found


def load_dataset(name: str) -> Dataset:
    """Return a dataset by id; raises UsageError for an unknown one."""
    known = load_datasets()
    if name not in known:
        raise UsageError(f"unknown dataset {name!r}; known are {', '.join(known)}")
    return known[name]


def overlaps_of(dataset: Dataset) -> dict[str, str]:
    """Return the other dataset -> what is shared, as either of both states it."""
    stated = {overlap.dataset: overlap.relation for overlap in dataset.overlaps}
    for other in load_datasets().values():
        for overlap in other.overlaps:
            if overlap.dataset == dataset.id and other.id != dataset.id:
                stated.setdefault(other.id, f"says: {overlap.relation}")
    return stated
