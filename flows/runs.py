"""A run: its id, its log file and the line that the journal keeps of it."""

from __future__ import annotations

import json
import logging
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from storage.store import Store

_ROOTS = ("configs", "storage", "model", "flows", "review_app")

_STARTED_BY: ContextVar[dict[str, str | None] | None] = ContextVar("started_by", default=None)


@contextmanager
def started_by(**reference: str | None) -> Iterator[None]:
    """Note in the runs of this block what started them; for reference only, nothing leans on it."""
    token = _STARTED_BY.set(reference)
    try:
        yield
    finally:
        _STARTED_BY.reset(token)


@contextmanager
def recorded_run(store: Store, verb: str, facts: dict[str, Any]) -> Iterator[str]:
    """Record that a verb starts, with versions and what it was given, and log it as JSON lines.

    Yields:
        The run id, ``r-`` + UTC time + four hex digits. The log is ``runs/<run id>.jsonl``.
    """
    now = datetime.now(UTC)
    run_id = f"r-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    starter = _STARTED_BY.get()
    facts = {**facts, "versions": code_versions(), **({"started_by": starter} if starter else {})}
    with store.transaction() as transaction:
        transaction.record("run.started", {"run_id": run_id, "verb": verb, "facts": facts})
    with logged_run(store, run_id):
        logging.getLogger(__name__).info("%s started", verb)
        yield run_id
        logging.getLogger(__name__).info("%s ended", verb)


def code_versions() -> dict[str, str]:
    """Return the versions of AtlasLoop and Python."""
    return {"atlasloop": metadata.version("atlasloop"), "python": platform.python_version()}


@contextmanager
def logged_run(store: Store, name: str) -> Iterator[None]:
    """Write what is logged in this process to ``runs/<name>.jsonl``, a JSON object a line."""
    path = store.workspace.runs_path / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_JsonLines())
    handler.setLevel(logging.INFO)
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in _ROOTS}
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in loggers.items():
            logger.removeHandler(handler)
            logger.setLevel(level)
        handler.close()


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON line; a traceback becomes one field."""
        fields: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)
