"""Stands in for the editor's built files where there are none."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

PATH = "/mask_editor"


async def send_asset(request: Request) -> Response:
    """Say that there is no such file."""
    del request
    return PlainTextResponse("there is no such file; reload the page", status_code=404)


def asset_route() -> Route:
    """Return the route that the server adds for the editor."""
    return Route(f"{PATH}/{{name}}", send_asset)
