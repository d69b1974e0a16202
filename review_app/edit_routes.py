"""The editor's addresses: each checks who asks and what is sent, then calls plain functions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from configs.errors import AccessError, AtlasLoopError, ConflictError, UsageError
from model.surface import surface_of
from review_app.body_picture import body_picture
from review_app.case_images import regions_of
from review_app.edit_access import check_may_look
from review_app.edit_content import document_facts, draft_voxels, layer_voxels, region_hu
from review_app.edit_document import EditDocument
from review_app.edit_operation import REFINE, operated, refined
from review_app.edit_request import (
    Refused,
    as_mask,
    check_writing,
    opened,
    read_body,
    unpacked,
)
from review_app.edit_saving import drop_draft, keep_candidate, keep_draft
from review_app.open_documents import OpenDocument
from review_app.session import utc_now
from review_app.tab_work import TAB_WORK
from storage.grid import box_shape
from storage.gzip_blocks import gzipped

_LOG = logging.getLogger(__name__)

_SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Mask = npt.NDArray[np.bool_]
Handler = Callable[[Request, OpenDocument], Awaitable[Response]]


def edit_routes() -> list[Route]:
    """Return the routes of the editor."""
    return [
        Route("/edit/{token}/document", _answering(_document)),
        Route("/edit/{token}/ct", _answering(_ct)),
        Route("/edit/{token}/body", _answering(_body)),
        Route("/edit/{token}/layer/{layer}", _answering(_layer)),
        Route("/edit/{token}/draft", _answering(_draft), methods=["GET"]),
        Route("/edit/{token}/draft", _answering(_put_draft), methods=["PUT"]),
        Route("/edit/{token}/draft", _answering(_delete_draft), methods=["DELETE"]),
        Route("/edit/{token}/mask", _answering(_put_mask), methods=["PUT"]),
        Route("/edit/{token}/operation/{name}", _answering(_operation), methods=["POST"]),
        Route("/edit/{token}/surface", _answering(_surface), methods=["POST"]),
    ]


def _answering(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Return a route that finds the document, checks its reader, and answers errors in words."""

    async def answer(request: Request) -> Response:
        try:
            entry = opened(request)
            await run_in_threadpool(check_may_look, entry)
            return await handler(request, entry)
        except Refused as error:
            return _refusal(error.status, error)
        except AccessError as error:
            return _refusal(HTTPStatus.FORBIDDEN, error)
        except ConflictError as error:
            return _refusal(HTTPStatus.CONFLICT, error)
        except UsageError as error:
            return _refusal(HTTPStatus.BAD_REQUEST, error)
        except AtlasLoopError as error:
            # A CT that is gone, a full disk: asking again at once would change nothing.
            _LOG.warning("the editor could not be served: %s", error)
            return _refusal(HTTPStatus.CONFLICT, error)

    return answer


async def _document(request: Request, entry: OpenDocument) -> Response:
    del request
    facts = await run_in_threadpool(document_facts, entry.document)
    return JSONResponse(facts, headers=_SAFE)


async def _ct(request: Request, entry: OpenDocument) -> Response:
    del request
    return await run_in_threadpool(lambda: _packed(region_hu(entry.document).astype("<i2")))


async def _layer(request: Request, entry: OpenDocument) -> Response:
    name = request.path_params["layer"]
    return await run_in_threadpool(lambda: _packed(layer_voxels(entry.document, name)))


async def _body(request: Request, entry: OpenDocument) -> Response:
    del request
    png = await run_in_threadpool(_body_png, entry.document)
    # Named, so that Streamlit's own compression leaves a picture alone.
    headers = {**_SAFE, "Content-Encoding": "identity"}
    return Response(png, media_type="image/png", headers=headers)


async def _draft(request: Request, entry: OpenDocument) -> Response:
    del request
    return await run_in_threadpool(lambda: _packed(draft_voxels(entry.document)))


async def _put_draft(request: Request, entry: OpenDocument) -> Response:
    return await _writing(request, entry, keep_draft)


async def _put_mask(request: Request, entry: OpenDocument) -> Response:
    return await _writing(request, entry, keep_candidate)


async def _delete_draft(request: Request, entry: OpenDocument) -> Response:
    request_id = check_writing(request, entry)
    key = f"delete {request_id}"
    return await run_in_threadpool(_once, entry, key, lambda: drop_draft(entry))


async def _operation(request: Request, entry: OpenDocument) -> Response:
    check_writing(request, entry)
    name = request.path_params["name"]
    parameters, document = dict(request.query_params), entry.document
    masks = 2 if name == REFINE else 1
    body = await read_body(request, most_bytes=masks * _voxels(document))

    def work() -> Response:
        values = unpacked(body, length=masks * _voxels(document))
        mask = as_mask(values[: _voxels(document)], box_shape(document.region_ras))
        if name == REFINE:
            scribbles = values[_voxels(document) :].reshape(mask.shape, order="F")
            return _packed(refined(document, mask, scribbles, parameters).view(np.uint8))
        spacing_mm = document.item.grid.ras_spacing_mm
        return _packed(operated(mask, spacing_mm, name, parameters).view(np.uint8))

    return await run_in_threadpool(work)


async def _surface(request: Request, entry: OpenDocument) -> Response:
    check_writing(request, entry)
    document = entry.document
    body = await read_body(request, most_bytes=_voxels(document))

    def work() -> Response:
        surface = surface_of(_mask_of(document, body), document.item.grid.ras_spacing_mm)
        counts = np.array([len(surface.vertices_mm), len(surface.triangles)], "<u4")
        vertices, triangles = surface.vertices_mm, surface.triangles
        parts = (counts, vertices.astype("<f4"), triangles.astype("<u4"))
        return _packed_bytes(b"".join(part.tobytes() for part in parts))

    return await run_in_threadpool(work)


async def _writing(
    request: Request,
    entry: OpenDocument,
    keep: Callable[[OpenDocument, Mask], dict[str, object]],
) -> Response:
    """Answer a request that keeps a mask; one that comes twice is answered twice, kept once."""
    key = f"{keep.__name__} {check_writing(request, entry)}"
    TAB_WORK.note(entry.document.tab, utc_now())
    body = await read_body(request, most_bytes=_voxels(entry.document))
    return await run_in_threadpool(
        _once, entry, key, lambda: keep(entry, _mask_of(entry.document, body))
    )


def _once(entry: OpenDocument, key: str, work: Callable[[], dict[str, object]]) -> Response:
    with entry.lock:
        answer = entry.answers.get(key)
        if answer is None:
            answer = work()
            entry.remember(key, answer)
    return JSONResponse(answer, headers=_SAFE)


def _mask_of(document: EditDocument, body: bytes) -> Mask:
    return as_mask(unpacked(body, length=_voxels(document)), box_shape(document.region_ras))


def _voxels(document: EditDocument) -> int:
    i, j, k = box_shape(document.region_ras)
    return i * j * k


def _body_png(document: EditDocument) -> bytes:
    grid = document.item.grid
    overview = regions_of(document.here.store).blocks(document.item.case).overview()
    return body_picture(overview, grid.ras_spacing_mm, grid.ras_shape)


def _packed(voxels: npt.NDArray[np.generic]) -> Response:
    """Return voxels (I, J, K) as the page takes them: R fastest, gzip."""
    return _packed_bytes(voxels.tobytes(order="F"))


def _packed_bytes(content: bytes) -> Response:
    headers = {**_SAFE, "Content-Encoding": "gzip"}
    return Response(gzipped(content), media_type="application/octet-stream", headers=headers)


def _refusal(status: HTTPStatus, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=status, headers=_SAFE)
