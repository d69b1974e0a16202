"""Which cases a run of annotate is for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of the unfinished cases a run is for.

    Attributes:
        limit: Stop after so many cases.
        case_ids: Only these; all when None.
        retry_failed: Try cases again that failed before.
    """

    limit: int | None = None
    case_ids: tuple[str, ...] | None = None
    retry_failed: bool = False
