"""Files that a page hands out: each under an address that nobody can guess, for one reader."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from configs.errors import AccessError, AtlasLoopError
from review_app.session import desk
from storage.roles import Action, check_allowed

PATH = "/review-file/{token}"
_TOKEN_BYTES = 24
_MOST_GRANTS = 1000
_LIFE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to fetch one file.

    Attributes:
        reader: Whom it was given to.
        case_id: The case that the file is about.
        file_name: What the browser saves it as; ids only.
        make: Returns the file's bytes, or the path of a file that is sent as it is.
    """

    reader: str
    case_id: str
    file_name: str
    make: Callable[[], bytes | Path]
    expires_at: datetime


class Grants:
    """The grants of this process, the newest thousand."""

    def __init__(self) -> None:
        self._grants: OrderedDict[str, Grant] = OrderedDict()
        self._tokens: dict[tuple[str, str, str], str] = {}
        self._lock = threading.Lock()

    def offer(
        self, *, reader: str, case_id: str, file_name: str, make: Callable[[], bytes | Path]
    ) -> str:
        """Return the address of a file; the same reader, case and name keep theirs (192 bits)."""
        grant = Grant(reader, case_id, file_name, make, _now() + _LIFE)
        key = (reader, case_id, file_name)
        with self._lock:
            token = self._tokens.setdefault(key, secrets.token_urlsafe(_TOKEN_BYTES))
            self._grants[token] = grant
            self._grants.move_to_end(token)
            while len(self._grants) > _MOST_GRANTS:
                _, oldest = self._grants.popitem(last=False)
                self._tokens.pop((oldest.reader, oldest.case_id, oldest.file_name), None)
        return PATH.replace("{token}", token)

    def find(self, token: str) -> Grant | None:
        """Return the grant of a token; None for an unknown or expired one."""
        with self._lock:
            grant = self._grants.get(token)
        return grant if grant is not None and grant.expires_at > _now() else None


GRANTS = Grants()


async def send_file(request: Request) -> Response:
    """Answer ``GET /review-file/TOKEN``."""
    grant = GRANTS.find(request.path_params["token"])
    if grant is None:
        return PlainTextResponse("this link has expired; open the page again", status_code=404)
    try:
        content = await run_in_threadpool(_content, grant)
    except AccessError as error:
        return PlainTextResponse(str(error), status_code=403)
    except AtlasLoopError as error:
        return PlainTextResponse(str(error), status_code=409)
    headers = {
        "Content-Disposition": f'attachment; filename="{grant.file_name}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if isinstance(content, Path):
        return FileResponse(content, media_type="application/octet-stream", headers=headers)
    return Response(content, media_type="application/gzip", headers=headers)


def _content(grant: Grant) -> bytes | Path:
    """Make the file for a reader who may still look: roles change while addresses live."""
    with desk().store.read() as connection:
        check_allowed(connection, grant.reader, Action.LOOK)
    return grant.make()


def _now() -> datetime:
    return datetime.now(UTC)
