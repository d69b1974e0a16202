"""What one browser tab remembers between reruns, and who works in which workspace."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import streamlit as st

from configs.errors import UsageError
from configs.setting_sections import ReviewSettings
from review_app.tab_work import TAB_WORK
from review_app.view_models import ActivityClock
from storage.corrections import Correction
from storage.labels import LabelMask
from storage.masks import EncodedMask
from storage.readers import who_acts
from storage.review_case import ReviewCase
from storage.store import Stamp, Store
from storage.verdicts import LinkedMask, VerdictKind

_SEAT = "seat"


@dataclass(frozen=True, slots=True)
class Desk:
    """The workspace and its reader; one of each for the life of the app's process.

    Attributes:
        verified: A login vouches for the reader's name.
    """

    store: Store
    reader: str
    verified: bool = False

    @property
    def settings(self) -> ReviewSettings:
        """The section ``[review]``."""
        return self.store.settings.review

    @property
    def lease(self) -> timedelta:
        """How long a claim holds."""
        return timedelta(minutes=self.settings.lease_minutes)


@dataclass(frozen=True, slots=True)
class Display:
    """One item as it was put before the reader; it stays as it is until a verdict or a reopening.

    Attributes:
        base_version: What the reader saw; a verdict is about this and nothing newer.
        request_id: Goes with the verdict, so that a click that arrives twice counts once.
    """

    base_version: str | None
    request_id: str
    opened_at: datetime
    clock: ActivityClock


@dataclass(frozen=True, slots=True)
class CheckedUpload:
    """An upload and what its check gave.

    Attributes:
        upload_id: Streamlit's id of the uploaded file.
        item: What it is for.
        outcome: What can be recorded, or why nothing can.
    """

    upload_id: str
    item: tuple[str, str]
    outcome: Correction | str


@dataclass(frozen=True, slots=True)
class PendingSave:
    """A correction out of the editor that waits for the reader's word on what it touches.

    Attributes:
        item: What it is for.
        base_version: What it was made from.
        findings: What may be wrong with it, in words.
    """

    item: tuple[str, str]
    base_version: str
    correction: Correction
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the reader says of the item that is displayed; see ``Verdict``.

    Attributes:
        drops_drawing: The reader was told of strokes that are not saved, and gives them up.
    """

    kind: VerdictKind
    mask: LabelMask | None = None
    linked: Mapping[str, LinkedMask] = field(default_factory=dict)
    voxels_changed: int = 0
    restores: str | None = None
    drops_drawing: bool = False


@dataclass(frozen=True, slots=True)
class UnsavedStrokes:
    """A verdict that waits for the reader's word on what he drew and did not save.

    Attributes:
        item: What it is on.
        answer: The verdict.
        voxels: How many voxels of the drawing the verdict leaves otherwise; None where the drawing
            cannot be read.
    """

    item: tuple[str, str]
    answer: Answer
    voxels: int | None


@dataclass(frozen=True, slots=True)
class PendingReading:
    """A reading out of the editor that may be cut off, and waits for the reader's word.

    Attributes:
        item: What it is of.
        encoded: The mask.
    """

    item: tuple[str, str]
    encoded: EncodedMask


@dataclass(frozen=True, slots=True)
class KeptCase:
    """A case as this tab read it last, and the workspace's stamp from before that."""

    stamp: Stamp
    case: ReviewCase

    def stands(self, case_id: str, stamp: Stamp, now: datetime) -> bool:
        """Whether a read would give this again."""
        end = self.case.good_until
        is_same = self.case.case.case_id == case_id and self.stamp == stamp
        return is_same and (end is None or now < end)


@dataclass(slots=True)
class Seat:
    """The memory of one tab.

    Attributes:
        displays: (case, structure) -> how it was displayed.
        shown: The item that the time runs for.
        claimed: The case whose open items were claimed when it was opened.
        notes: Messages for the next rerun: kind (``success``, ``error``) and text.
        checked: The last upload, with what its check gave.
        correcting: Whether the part for corrections is open; None until the reader says so.
        uploads: Counts uploads, to empty the upload field after a verdict.
        tab: Names this tab to the documents of the editor.
        wider_mm: Item -> how much more than the usual region the reader asked for.
        pending: The last save of the editor that waits for the reader's word.
        unsaved: The last verdict that waits for the reader's word on his strokes.
        heard: What the editor told already, so that it counts once.
        looked_past: The case, or reading, whose next one was made ready.
        drawing: Whether a reading is open in the editor; None until the reader says so.
        places: Reading -> voxel that the reader looked at when he wanted to draw.
        pending_reading: The last saved reading that waits for the reader's word.
        case: The case that was shown last.
    """

    displays: dict[tuple[str, str], Display] = field(default_factory=dict)
    shown: tuple[str, str] | None = None
    claimed: str | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)
    checked: CheckedUpload | None = None
    correcting: bool | None = None
    uploads: int = 0
    tab: str = field(default_factory=lambda: secrets.token_hex(8))
    wider_mm: dict[tuple[str, str], float] = field(default_factory=dict)
    pending: PendingSave | None = None
    unsaved: UnsavedStrokes | None = None
    heard: list[str] = field(default_factory=list)
    looked_past: str | None = None
    drawing: bool | None = None
    places: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)
    pending_reading: PendingReading | None = None
    case: KeptCase | None = None

    def display(self, item: tuple[str, str], base_version: str | None, *, idle_s: float) -> Display:
        """Return the display of the item that is shown now, made when it is new; time goes on."""
        now = utc_now()
        self.touch(now, idle_s=idle_s)
        display = self.displays.get(item)
        if display is None:
            display = Display(base_version, secrets.token_hex(12), now, ActivityClock(0.0, now))
        elif self.shown != item:
            display = replace(display, clock=display.clock.resumed(now))
        self.displays[item] = display
        self.shown = item
        return display

    def touch(self, now: datetime, *, idle_s: float) -> None:
        """Count the time since the last action, or stroke, for the item shown until now."""
        if self.shown in self.displays:
            display = self.displays[self.shown]
            clock = display.clock
            for time in (*TAB_WORK.between(self.tab, clock.last, now), now):
                clock = clock.touched(time, idle_s=idle_s)
            self.displays[self.shown] = replace(display, clock=clock)

    def forget(self, item: tuple[str, str]) -> None:
        """Drop an item's display, so that it is opened anew next time."""
        self.displays.pop(item, None)
        self.checked = None
        self.correcting = None
        self.pending = None
        self.unsaved = None
        self.wider_mm.pop(item, None)
        self.drawing = None
        self.places.pop(item, None)
        self.pending_reading = None
        self.uploads += 1

    def hears(self, told: str) -> bool:
        """Whether the editor tells something for the first time; the last fifty are known."""
        if told in self.heard:
            return False
        self.heard = [*self.heard[-49:], told]
        return True

    def looks_past(self, opened: str) -> bool:
        """Whether what follows ``opened`` is to be made ready: once, not at each run of the page.

        The index that it is looked up in can be open once at a time, so the page would wait for it.
        """
        is_first = self.looked_past != opened
        self.looked_past = opened
        return is_first


def tags_key(item: tuple[str, str]) -> str:
    """Return the key of the tags that the reader chose for an item."""
    return f"tags-{'-'.join(item)}"


def note_success(text: str) -> None:
    """Show a message after the next rerun."""
    seat().notes.append(("success", text))


def note_error(text: str) -> None:
    """Show what went wrong after the next rerun."""
    seat().notes.append(("error", text))


def seat() -> Seat:
    """Return this tab's memory."""
    if _SEAT not in st.session_state:
        st.session_state[_SEAT] = Seat()
    return st.session_state[_SEAT]


@cache
def desk() -> Desk:
    """Return the workspace that ATLASLOOP_WORKSPACE names, and its reader.

    Raises:
        UsageError: There is no such workspace, or no reader is named.
    """
    store = Store.open(Path(os.environ.get("ATLASLOOP_WORKSPACE", ".")))
    actor = who_acts(store.settings.review)
    if actor is None:
        raise UsageError(
            "a review needs a reader's name, got none; give --reader NAME or set review.reader"
        )
    return Desk(store, actor.name, actor.verified)


def utc_now() -> datetime:
    """Return the time as the database keeps it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def go_to(view: str, **parameters: str) -> None:
    """Turn to another page; to be called from a callback, which runs before the page does."""
    st.query_params.from_dict({"view": view, **parameters})
