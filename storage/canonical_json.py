"""JSON with one spelling per value, so that equal content has equal bytes and equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

JsonObject = dict[str, Any]


def to_bytes(value: object) -> bytes:
    """Return the canonical UTF-8 bytes of a JSON value: sorted keys, no blanks, ASCII, no NaN.

    Raises:
        ValueError: The value holds NaN or infinity, which JSON cannot say.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()
