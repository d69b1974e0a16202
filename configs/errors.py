"""Errors that a user can act on, and the exit code that each of them ends with."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a case was quarantined or failed. Closed: a new fault gets a new code."""

    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CRC_ERROR = "crc_error"
    FOUR_DIMENSIONAL = "four_dimensional"
    RGB = "rgb"
    NON_FINITE = "non_finite"
    BAD_AFFINE = "bad_affine"
    ZERO_SPACING = "zero_spacing"
    TOO_FEW_SLICES = "too_few_slices"
    SFORM_QFORM_MISMATCH = "sform_qform_mismatch"
    NOT_HU = "not_hu"
    DICOM_UNSUPPORTED = "dicom_unsupported"
    EXPANDS_PAST_LIMIT = "expands_past_limit"
    UNREADABLE = "unreadable"
    MISSING_FILE = "missing_file"
    CHANGED_FILE = "changed_file"
    OUT_OF_MEMORY = "out_of_memory"
    NON_FINITE_LOGITS = "non_finite_logits"
    INFERENCE_FAILED = "inference_failed"
    WORKER_DIED = "worker_died"
    UNKNOWN_CASE = "unknown_case"
    GRID_MISMATCH = "grid_mismatch"
    FOREIGN_VALUES = "foreign_values"
    AMBIGUOUS_FILES = "ambiguous_files"


class AtlasLoopError(Exception):
    """Base of every error raised on purpose: the rule, the value received, the remedy."""


class UsageError(AtlasLoopError):
    """The caller asked for something that cannot be done as asked."""


class NothingToLearnError(UsageError):
    """There is no label that a training could learn from."""


class ConflictError(UsageError):
    """What the caller leans on was changed or is held by somebody else; nothing was written."""


class AccessError(UsageError):
    """Who acts may not do this, or did not say who it is; nothing was written."""


class ConfigError(UsageError):
    """A setting or a data file of ``configs`` breaks a rule."""


class CaseError(AtlasLoopError):
    """One case cannot be used; the batch goes on without it.

    Attributes:
        reason: The code that quarantine and run reports carry.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[CaseError], tuple[Reason, str]]:
        """Let it pass from one process to another; an exception alone would lose the reason."""
        return type(self), (self.reason, str(self))


class SomeCasesFailedError(AtlasLoopError):
    """The work is done, but some cases failed or were quarantined; they are listed."""


class StorageError(AtlasLoopError):
    """Workspace, journal, objects or database are not in the state they must be in."""


class ModelError(UsageError):
    """A checkpoint, an encoding or a training set does not fit the network."""


class StoppedError(AtlasLoopError):
    """Somebody asked the work to stop; what was done is kept.

    Attributes:
        signal_number: SIGINT or SIGTERM.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number

    def __reduce__(self) -> tuple[type[StoppedError], tuple[str, int]]:
        """Let it pass from one process to another."""
        return type(self), (str(self), self.signal_number)


class WorkerError(AtlasLoopError):
    """The processes that share the work of a command end without doing it."""


class SchedulerError(AtlasLoopError):
    """The Prefect server does not start or does not answer, or a scheduled run ended by a fault."""


class ExitCode:
    """Exit codes of the command line."""

    OK = 0
    FAULT = 1
    USAGE = 2
    CASES_FAILED = 3
    SIGNALLED = 128


def exit_code(error: AtlasLoopError) -> int:
    """Return the exit code that an error ends the command with; the only place that maps them."""
    if isinstance(error, StoppedError):
        return ExitCode.SIGNALLED + error.signal_number
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    if isinstance(error, CaseError | SomeCasesFailedError):
        return ExitCode.CASES_FAILED
    return ExitCode.FAULT
