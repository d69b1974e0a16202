"""A cookie of our own that ties the editor's requests to the browser that opened the page."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "atlasloop_session"
_TOKEN_BYTES = 24
_WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{32}")


class BrowserSession:
    """Gives a browser that asks for a page without a session one of 192 bits, kept till it closes.

    The cookie says nothing of who reads. It is not signed: whoever could plant one of his own could
    as well ask us for one, and a document answers to its own token beside it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and set the cookie in the answer where it is missing."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            # Scripts and pictures come many at once: each would set another cookie.
            is_page = "text/html" in headers.get("accept", "")
            if is_page and session_of(headers) is None:
                send = _with_cookie(send, secrets.token_urlsafe(_TOKEN_BYTES))
        await self._app(scope, receive, send)


def session_of(headers: Headers) -> str | None:
    """Return a request's session; None without a cookie that could be ours."""
    return well_formed(cookie_parser(headers.get("cookie", "")).get(COOKIE))


def well_formed(session: object) -> str | None:
    """Return a cookie's value where it has the form of ours, else None."""
    return session if isinstance(session, str) and _WELL_FORMED.fullmatch(session) else None


def _with_cookie(send: Send, session: str) -> Send:
    async def forward(message: Message) -> None:
        if message["type"] == "http.response.start":
            cookie = f"{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict"
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return forward
