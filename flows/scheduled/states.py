"""The state that a flow or task ends in, and what its caller reads from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from configs.errors import SomeCasesFailedError

if TYPE_CHECKING:
    from flows.annotate import AnnotateSummary


class CasesFailedError(SomeCasesFailedError):
    """What a Failed state carries: Prefect prints its message, which must not name a file.

    Attributes:
        summary: Of the run or chunk.
    """

    def __init__(self, message: str, summary: AnnotateSummary) -> None:
        super().__init__(message)
        self.summary = summary


def state_of(summary: AnnotateSummary) -> State[Any]:
    """Return Completed, or Failed where a case failed; both carry the summary."""
    try:
        summary.raise_for_failures()
    except SomeCasesFailedError as error:
        return Failed(message=str(error), data=CasesFailedError(str(error), summary))
    return Completed(message=f"{len(summary.closed)} cases closed", data=summary)


def outcome(state: State[Any]) -> Any:  # noqa: ANN401 each flow has its own
    """Return what a flow called with ``return_state=True`` gave back, or raise what it raised."""
    value = state.result(raise_on_failure=False)
    if isinstance(value, CasesFailedError):
        return value.summary
    if isinstance(value, BaseException):
        raise value
    return value
