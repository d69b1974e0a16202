"""What a release says of each case and structure, and how that is read back from its object."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from storage.canonical_json import JsonObject
from storage.labels import LabelMask
from storage.predictions import FlatBox, row_box

Review = Literal["reviewed", "deferred", "returned", "linked", "unreviewed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedVerdict:
    """The last verdict on a structure.

    Attributes:
        at: When it was recorded, UTC, ISO 8601.
    """

    verdict_id: str
    verdict: str
    reader: str
    tags: tuple[str, ...]
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedLabel:
    """The label of one structure of one case.

    Attributes:
        label_id: A label version, or the prediction whose consensus it is.
        object: The mask object; None where the structure is absent.
        box: Where the object lies, in the axis order of the object itself; None where absent.
        source: ``reader:NAME`` or ``committee:ID``.
        review: ``reviewed``: somebody judged it as a whole; ``deferred``: somebody could not;
            ``returned``: somebody did, and a second reader returned it;
            ``linked``: it only changed with a neighbour; ``unreviewed``: a model made it and nobody
            has seen it.
        parent: What the version was made from.
        made_at: When it was recorded, UTC, ISO 8601.
        approved_by: The second reader who approved it; None where nobody did.
    """

    structure: str
    label_id: str
    object: str | None
    box: FlatBox | None
    voxels: int
    source: str
    review: Review
    verdict: ReleasedVerdict | None
    parent: str | None
    made_at: str
    approved_by: str | None = None

    @property
    def mask(self) -> LabelMask:
        """The label as a mask."""
        return LabelMask(self.object, self.box, self.voxels)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A structure that was rejected and not corrected, or waits where approval is required."""

    structure: str
    verdict: ReleasedVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedCase:
    """One case of a release.

    Attributes:
        content_id: SHA-256 of the CT's content, see ``identity.content_id``.
        prediction_id: The case's newest prediction.
        manifest: Its manifest, which holds the grid.
        members: Name, family and weights of the models that voted.
        labels: In the taxonomy's order.
    """

    case_id: str
    content_id: str
    prediction_id: str
    manifest: str
    committee_id: str
    members: tuple[JsonObject, ...]
    labels: tuple[ReleasedLabel, ...]
    left_out: tuple[LeftOut, ...]


def case_to_json(case: ReleasedCase) -> JsonObject:
    """Return a case as it stands in a release's object.

    What nobody approved does not mention it, so that the content, and with it a release's id, is
    the same as before there was approval.
    """
    entry = asdict(case)
    for label in entry["labels"]:
        if label["approved_by"] is None:
            del label["approved_by"]
    return entry


def case_from_json(entry: JsonObject) -> ReleasedCase:
    """Return a case as it stands in a release's object."""
    labels = tuple(_label_of(label) for label in entry["labels"])
    left_out = tuple(
        LeftOut(structure=left["structure"], verdict=_verdict_of(left["verdict"]))
        for left in entry["left_out"]
    )
    members = tuple(entry["members"])
    return ReleasedCase(**{**entry, "labels": labels, "left_out": left_out, "members": members})


def _label_of(entry: JsonObject) -> ReleasedLabel:
    box = None if entry["box"] is None else row_box(entry["box"])
    verdict = None if entry["verdict"] is None else _verdict_of(entry["verdict"])
    return ReleasedLabel(**{**entry, "box": box, "verdict": verdict})


def _verdict_of(entry: JsonObject) -> ReleasedVerdict:
    return ReleasedVerdict(**{**entry, "tags": tuple(entry["tags"])})
