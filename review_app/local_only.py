"""Answers this machine's own browser only: other names and other sites' pages are refused."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAMES = ("127.0.0.1", "localhost")


class LocalOnly:
    """Refuses requests whose Host or Origin is not this server on the loopback address.

    A page of another site can make a browser send requests here, under its own name as the Origin,
    or, after rebinding its name to 127.0.0.1, as the Host. Neither passes. The check covers
    Streamlit's own routes and its websocket too.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = frozenset(f"{name}:{port}" for name in _NAMES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] not in ("http", "websocket") or self._is_ours(Headers(scope=scope)):
            await self._app(scope, receive, _with_safe_headers(send))
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = PlainTextResponse("this server answers its own machine only", status_code=403)
        await refusal(scope, receive, send)

    def _is_ours(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        is_same_site = origin is None or origin.removeprefix("http://") in self._hosts
        return headers.get("host") in self._hosts and is_same_site


def _with_safe_headers(send: Send) -> Send:
    async def forward(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Frame-Options"] = "DENY"
            headers["Referrer-Policy"] = "no-referrer"
        await send(message)

    return forward
