"""The labels that a structure of a case has had, as a reader chooses among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.labels import ABSENT, LabelMask, LabelVersion
from storage.predictions import CONSENSUS
from storage.review_case import ReviewCase


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionChoice:
    """One label of a structure.

    Attributes:
        label_id: A version, or the prediction whose consensus it is.
        words: Who made it and when; the same mask under a later name says so.
        is_newest: A verdict given now starts from it.
    """

    label_id: str
    words: str
    mask: LabelMask
    is_newest: bool


def version_choices(case: ReviewCase, structure: str) -> list[VersionChoice]:
    """Return the newest prediction's consensus and every version of the reviews, oldest first."""
    newest = case.bases[structure][0]
    consensus = next(
        (
            LabelMask(mask.object, mask.box, mask.voxels)
            for mask in case.masks.get(structure, ())
            if mask.member == CONSENSUS
        ),
        ABSENT,
    )
    versions = [one for one in case.versions if one.structure == structure]
    labels = [
        (case.prediction_id, "committee", consensus),
        *((one.version_id, _words(one), one.mask) for one in versions),
    ]
    first_with: dict[LabelMask, str] = {}
    choices = []
    for label_id, words, mask in labels:
        known = first_with.setdefault(mask, label_id)
        same = "" if known == label_id else f", as {_short(known, case.prediction_id)}"
        absent = ", absent" if mask == ABSENT else ""
        choices.append(
            VersionChoice(
                label_id=label_id,
                words=f"{words}{absent}{same}",
                mask=mask,
                is_newest=label_id == newest,
            )
        )
    return choices


def default_pair(choices: Sequence[VersionChoice]) -> tuple[str, str]:
    """Return what is compared at first: the newest label with the last one before that differs."""
    newest = next((one for one in choices if one.is_newest), choices[-1])
    before = choices[: choices.index(newest)]
    differing = [one for one in before if one.mask != newest.mask]
    older = differing[-1] if differing else choices[0]
    return older.label_id, newest.label_id


def _words(version: LabelVersion) -> str:
    by = version.source.removeprefix("reader:")
    how = ", with a neighbour's correction" if version.linked else ""
    return f"{version.version_id} by {by}{how}, {version.recorded_at:%Y-%m-%d %H:%M} UTC"


def _short(label_id: str, prediction_id: str) -> str:
    return "the committee's" if label_id == prediction_id else label_id
