"""A small server that serves documents by the editor's contract, with volumes made in place."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import uvicorn
from scipy import ndimage
from skimage.measure import marching_cubes
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from review_app.mask_editor.assets import asset_route, entry_url

WINDOWS = {"Abdomen": [-160, 240], "Liver": [-20, 180], "Lung": [-1350, 150], "Bone": [-500, 1300]}

# The page stands in for Streamlit: it mounts the component in a shadow root and keeps the triggers.
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>editor</title>
<style>html, body, #place {{ margin: 0; height: 100%; background: #fff; }}</style>
<div id="place"></div>
<script type="module">
import mount from "{entry}";
const shadow = document.querySelector("#place").attachShadow({{ mode: "open" }});
window.triggers = [];
window.outside = [];
document.addEventListener("keydown", (event) => window.outside.push(event.key));
window.show = (data) => {{
  window.cleanup = mount({{
    data, parentElement: shadow, key: "editor", name: "mask_editor",
    setTriggerValue: (name, value) => window.triggers.push([name, value]),
    setStateValue: () => undefined,
  }});
}};
window.editorRoot = () => shadow.querySelector(".editor");
const query = new URLSearchParams(location.search);
window.show({{
  document_url: "/edit/{token}/document", status: null,
  mode: query.get("mode") ?? "edit", renderer: query.get("renderer") ?? undefined,
}});
</script></html>"""

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@dataclass
class EditorDocument:
    """One document: arrays in (I, J, K) RAS order and what the page is told of them."""

    ct: np.ndarray
    mask: np.ndarray
    spacing_mm: tuple[float, float, float]
    layers: dict[str, tuple[str, str, list[int], np.ndarray]] = field(default_factory=dict)
    display: str = "Liver"
    rgb: tuple[int, int, int] = (216, 108, 54)
    disputed: list[list[int]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    picture: bytes = PIXEL
    box: tuple[float, float, float, float] | None = (0.2, 0.3, 0.7, 0.6)
    autosave_s: float = 10
    exclusive: tuple[str, ...] = ()
    at_ct_border: list[list[bool]] = field(default_factory=lambda: [[False, False]] * 3)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    xsrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    base_version: str = "v-1"
    draft: np.ndarray | None = None
    saved: list[np.ndarray] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    receipts: dict[str, dict[str, object]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Return what GET document answers."""
        shape = list(self.ct.shape)
        layers = [{"id": "mask", "kind": "mask", "name": self.display, "rgb": list(self.rgb)}]
        for name, (kind, words, rgb, _) in self.layers.items():
            entry = {"id": name, "kind": kind, "name": words, "rgb": rgb}
            layers.append({**entry, "exclusive": name in self.exclusive})
        return {
            "id": f"d-{self.token[:8]}",
            "xsrf": self.xsrf,
            "case_id": "c-0123456789ab",
            "structure": "liver",
            "display": self.display,
            "rgb": list(self.rgb),
            "base_version": self.base_version,
            "shape": shape,
            "spacing_mm": list(self.spacing_mm),
            "origin_voxel": [0, 0, 0],
            "full_shape": shape,
            "has_draft": self.draft is not None,
            "draft_saved_at": "2026-01-05T12:00:00Z" if self.draft is not None else None,
            "at_ct_border": self.at_ct_border,
            "layers": layers,
            "windows": WINDOWS,
            "start_voxel": [n // 2 for n in shape],
            "disputed": self.disputed,
            "protocol": {"version": "2", "text": "The whole organ.", "picture_url": None},
            "keys": self.keys,
            "limits": {"max_bytes": 2 * int(np.prod(shape)), "autosave_s": self.autosave_s},
            "body": {"image_url": f"/edit/{self.token}/body", "box": list(self.box)}
            if self.box
            else None,
            "blind": False,
        }


def made_document(
    shape: tuple[int, int, int] = (48, 40, 32),
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 3.0),
) -> EditorDocument:
    """Return a soft body with an organ, a mask with a bite, two members, a neighbour and a map."""
    rng = np.random.default_rng(7)
    body = ellipsoid(shape, (0.5, 0.5, 0.5), (0.46, 0.42, 0.9))
    organ = ellipsoid(shape, (0.58, 0.52, 0.5), (0.26, 0.24, 0.34))
    bite = ellipsoid(shape, (0.78, 0.52, 0.5), (0.1, 0.1, 0.14))
    spine = ellipsoid(shape, (0.5, 0.2, 0.5), (0.09, 0.09, 2.0))
    spleen = ellipsoid(shape, (0.22, 0.45, 0.5), (0.12, 0.16, 0.25))
    hu = np.full(shape, -1000.0)
    for where, value in ((body, -80), (organ, 110), (spleen, 130), (spine, 420)):
        hu[where] = value
    hu = ndimage.gaussian_filter(hu, 0.7) + ndimage.gaussian_filter(rng.normal(0, 45, shape), 0.6)
    mask = organ & ~bite
    moved = np.roll(organ, 2, axis=1)
    heat = ndimage.gaussian_filter((mask ^ moved).astype(float), 1.5)
    heat = (255 * heat / heat.max()).astype(np.uint8)
    worst = [
        [int(v) for v in np.unravel_index(index, shape)]
        for index in np.argsort(-heat.ravel().astype(int))
    ]
    return EditorDocument(
        ct=hu.astype("<i2"),
        mask=mask.astype(np.uint8),
        spacing_mm=spacing_mm,
        layers={
            "A": ("member", "A", [90, 200, 250], moved.astype(np.uint8)),
            "B": ("member", "B", [250, 210, 80], organ.astype(np.uint8)),
            "spleen": ("neighbour", "Spleen", [50, 170, 60], spleen.astype(np.uint8)),
            "heat": ("heat", "Uncertainty", [255, 255, 255], heat),
        },
        disputed=[worst[0], worst[len(worst) // 400]],
    )


def ellipsoid(
    shape: tuple[int, ...], center: tuple[float, ...], radius: tuple[float, ...]
) -> np.ndarray:
    """Return a boolean ellipsoid; center and radii are fractions of the shape."""
    total = np.zeros(shape)
    for axis, (n, c, r) in enumerate(zip(shape, center, radius, strict=True)):
        offset = ((np.arange(n) + 0.5) / n - c) / r
        total += (offset**2).reshape([-1 if a == axis else 1 for a in range(3)])
    return total <= 1


class EditorServer:
    """Documents by token behind a real HTTP server on 127.0.0.1."""

    def __init__(self) -> None:
        self.documents: dict[str, EditorDocument] = {}
        self.is_down = False
        self.address = ""
        self.app = Starlette(
            routes=[
                Route("/page/{token}", self._page),
                asset_route(),
                Route(
                    "/edit/{token}/{rest:path}",
                    self._edit,
                    methods=["GET", "PUT", "POST", "DELETE"],
                ),
            ]
        )

    def add(self, document: EditorDocument) -> EditorDocument:
        """Serve a document from now on."""
        self.documents[document.token] = document
        return document

    def page(self, document: EditorDocument, query: str = "") -> str:
        """Return the address of a page with the editor on a document."""
        return f"{self.address}/page/{document.token}?{query}"

    @contextlib.contextmanager
    def running(self) -> Iterator[EditorServer]:
        """Serve on a free port until the block ends."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(10)
            listener.close()

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(PAGE.format(entry=entry_url(), token=request.path_params["token"]))

    async def _edit(self, request: Request) -> Response:
        document = self.documents.get(request.path_params["token"])
        rest = request.path_params["rest"]
        if self.is_down:
            return refused(503, "the server is being restarted")
        if document is None:
            return refused(404, "no such document; open the item again")
        document.requests.append((request.method, rest))
        if request.method == "GET":
            return read(document, rest)
        fault = header_fault(document, request)
        return fault or write(document, request, rest, await request.body())


def read(document: EditorDocument, rest: str) -> Response:
    """Answer a GET."""
    if rest == "document":
        return JSONResponse(document.as_json())
    if rest == "ct":
        return zipped(document.ct)
    if rest == "layer/mask":
        return zipped(document.mask)
    if rest == "body":
        return Response(document.picture, media_type="image/png")
    if rest == "draft" and document.draft is not None:
        return zipped(document.draft)
    if rest.startswith("layer/") and rest[6:] in document.layers:
        return zipped(document.layers[rest[6:]][3])
    return refused(404, f"no {rest} here")


def header_fault(document: EditorDocument, request: Request) -> Response | None:
    """Return the refusal of a writing request without its headers."""
    if request.headers.get("x-atlasloop-xsrf") != document.xsrf:
        return refused(403, "the XSRF secret is wrong; open the item again")
    base = request.headers.get("x-atlasloop-base")
    if base is None:
        return refused(428, "a writing request names its base version")
    if base != document.base_version:
        return refused(409, "somebody saved a newer version; open the item again")
    return None


def write(document: EditorDocument, request: Request, rest: str, body: bytes) -> Response:
    """Answer a PUT, POST or DELETE."""
    shape, size = document.mask.shape, document.mask.size
    if request.headers.get("content-type") != "application/octet-stream" or not body:
        return refused(400, "a body is application/octet-stream")
    values = np.frombuffer(gzip.decompress(body), np.uint8)
    mask = values[:size].reshape(shape, order="F")
    if len(values) not in (size, 2 * size) or mask.max(initial=0) > 1:
        return refused(400, f"a mask has {size} voxels of 0 or 1, got {len(values)}")
    if rest == "draft":
        document.draft = mask.copy()
        return JSONResponse({"saved_at": "2026-01-05T12:00:07Z"})
    if rest == "mask":
        return JSONResponse(receipt_of(document, request.headers["x-atlasloop-request"], mask))
    if rest == "surface":
        return mesh(document, mask)
    scribbles = values[size:].reshape(shape, order="F") if len(values) > size else None
    return operated(document, rest.removeprefix("operation/"), request, mask, scribbles)


def receipt_of(document: EditorDocument, request_id: str, mask: np.ndarray) -> dict[str, object]:
    """Keep the mask once per request id."""
    if request_id not in document.receipts:
        document.saved.append(mask.copy())
        document.receipts[request_id] = {
            "receipt": f"r-{len(document.saved)}",
            "sha256": hashlib.sha256(mask.tobytes(order="F")).hexdigest(),
            "voxels": int(mask.sum()),
            "voxels_changed": int((mask != document.mask).sum()),
            "at_border": False,
        }
    return document.receipts[request_id]


def operated(
    document: EditorDocument,
    name: str,
    request: Request,
    mask: np.ndarray,
    scribbles: np.ndarray | None,
) -> Response:
    """Run the few operations that the tests ask for."""
    query = request.query_params
    spacing = document.spacing_mm
    if name == "grow":
        away = ndimage.distance_transform_edt(mask == 0, sampling=spacing)
        return zipped((away <= float(query["mm"])).astype(np.uint8))
    if name == "keep_component":
        pieces, _ = ndimage.label(mask)
        here = pieces[int(query["x"]), int(query["y"]), int(query["z"])]
        return zipped(((pieces == here) & (here > 0)).astype(np.uint8))
    if name == "refine" and scribbles is not None:
        return zipped(((mask == 1) & (scribbles != 2) | (scribbles == 1)).astype(np.uint8))
    return refused(400, f"there is no operation {name}")


def mesh(document: EditorDocument, mask: np.ndarray) -> Response:
    """Answer with the surface of a mask, in mm from the first voxel's centre."""
    padded = np.pad(mask, 1).astype(np.float32)
    points, corners, _, _ = marching_cubes(padded, 0.5)
    points = (points - 1) * document.spacing_mm
    head = np.array([len(points), len(corners)], "<u4").tobytes()
    body = head + points.astype("<f4").tobytes() + corners.astype("<u4").tobytes()
    return packed(body)


def zipped(voxels: np.ndarray) -> Response:
    """Answer with voxels, x fastest."""
    return packed(voxels.tobytes(order="F"))


def packed(body: bytes) -> Response:
    """Answer with a gzip body."""
    headers = {"Content-Encoding": "gzip", "Cache-Control": "no-store"}
    zipped_body = gzip.compress(body, compresslevel=1, mtime=0)
    return Response(zipped_body, media_type="application/octet-stream", headers=headers)


def refused(status: int, words: str) -> Response:
    """Answer with an error by the contract."""
    return JSONResponse({"error": words}, status_code=status)
