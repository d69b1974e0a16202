"""The editor's built files and the route that serves them.

Streamlit finds files of a component through the metadata of an installed distribution, by an import
package of the distribution's name. AtlasLoop has none of that name, so a source install would show
no editor; a route of our own works in every install, and its answers may be cached for good.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

PATH = "/mask_editor"
_FOLDER = Path(__file__).parent


@cache
def entry_url() -> str:
    """Return the address of the file that the page loads; its name changes with its content."""
    record = json.loads((_FOLDER / "build.json").read_text())
    return f"{PATH}/{record['entry']}"


async def send_asset(request: Request) -> Response:
    """Send one built file; the names are known, so no path can lead elsewhere."""
    name = request.path_params["name"]
    if name not in _names():
        return PlainTextResponse("there is no such file; reload the page", status_code=404)
    headers = {
        "Content-Encoding": "gzip",
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(_zipped(name), media_type="text/javascript", headers=headers)


def asset_route() -> Route:
    """Return the route that the server adds for the editor."""
    return Route(f"{PATH}/{{name}}", send_asset)


@cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in (_FOLDER / "assets").glob("*.js"))


@cache
def _zipped(name: str) -> bytes:
    return gzip.compress((_FOLDER / "assets" / name).read_bytes(), compresslevel=6, mtime=0)
