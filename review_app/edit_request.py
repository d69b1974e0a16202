"""What a request to the editor's routes must bring before anything is done: who, what, how much."""

from __future__ import annotations

import hmac
import re
import zlib
from http import HTTPStatus

import numpy as np
import numpy.typing as npt
from starlette.requests import Request

from configs.errors import UsageError
from review_app.browser_session import session_of
from review_app.open_documents import DOCUMENTS, OpenDocument

XSRF_HEADER = "x-atlasloop-xsrf"
BASE_HEADER = "x-atlasloop-base"
REQUEST_HEADER = "x-atlasloop-request"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_GZIP_BITS = 31
# gzip of noise is a little larger than the noise.
_SLACK_BYTES = 1 << 16
_KINDS = ("application/octet-stream",)

Bytes = npt.NDArray[np.uint8]


class Refused(UsageError):  # noqa: N818 reads as what it is: the request was refused
    """A request that is answered with an error and does nothing.

    Attributes:
        status: Of the answer.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def opened(request: Request) -> OpenDocument:
    """Return the document that a request names.

    Raises:
        Refused: The token is unknown or expired, or the browser is another one.
    """
    entry = DOCUMENTS.find(request.path_params["token"])
    if entry is None:
        raise Refused(
            HTTPStatus.NOT_FOUND, "this item is not open any more; reload the page to open it again"
        )
    session = session_of(request.headers)
    if session is None or not hmac.compare_digest(session, entry.document.browser):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "an item answers only the browser that opened it, with its session cookie; reload the "
            "page",
        )
    return entry


def check_writing(request: Request, entry: OpenDocument) -> str:
    """Check what every writing request carries; returns its id.

    Raises:
        Refused: The XSRF secret, the base version or the request id is missing or not right.
    """
    headers, document = request.headers, entry.document
    xsrf = headers.get(XSRF_HEADER, "").encode()
    if not hmac.compare_digest(xsrf, document.xsrf.encode()):
        raise Refused(
            HTTPStatus.FORBIDDEN, f"a change needs the document's secret in {XSRF_HEADER}"
        )
    base = headers.get(BASE_HEADER)
    if base is None:
        raise Refused(
            HTTPStatus.PRECONDITION_REQUIRED,
            f"a change names the version it is made from in {BASE_HEADER}, got none",
        )
    if base != document.shown_base:
        raise Refused(
            HTTPStatus.CONFLICT,
            f"this item was opened from {document.shown_base}, the change is from another version; "
            "open it again",
        )
    request_id = headers.get(REQUEST_HEADER, "")
    if not _REQUEST_ID.fullmatch(request_id):
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"{REQUEST_HEADER} must be 8 to 64 letters, digits, _ and -, got {request_id[:80]!r}",
        )
    return request_id


async def read_body(request: Request, *, most_bytes: int) -> bytes:
    """Return a body as it was sent, read no further than the limit.

    Args:
        request: The request.
        most_bytes: What it may unpack to; packed it may be hardly larger.

    Raises:
        Refused: It is of another type, or too large.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip()
    if kind not in _KINDS:
        raise Refused(HTTPStatus.BAD_REQUEST, f"a body is {_KINDS[0]}, got {kind[:80]!r}")
    limit = most_bytes + most_bytes // 1000 + _SLACK_BYTES
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a body may have at most {limit} bytes here, got more; it was not read further",
            )
    return bytes(body)


def unpacked(body: bytes, *, length: int) -> Bytes:
    """Return the bytes of a gzip stream, which must be as many as said; reads one more at most.

    Raises:
        Refused: It is no whole gzip stream, or of another length.
    """
    inflater = zlib.decompressobj(_GZIP_BITS)
    try:
        content = inflater.decompress(body, length + 1)
    except zlib.error as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"a body is a gzip stream; {error}") from error
    if len(content) > length:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body must unpack to {length} bytes, one a voxel; it unpacks to more and was not "
            "read further",
        )
    if not inflater.eof or inflater.unused_data or len(content) < length:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"the body must be one whole gzip stream of {length} bytes, one a voxel; got "
            f"{len(content)}{'' if inflater.eof else ', cut short'}; send the whole region",
        )
    return np.frombuffer(content, np.uint8)


def as_mask(values: Bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Return the bytes of the wire, first axis fastest, as a mask (I, J, K).

    Raises:
        Refused: A value is neither 0 nor 1.
    """
    highest = int(values.max(initial=0))
    if highest > 1:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"a mask holds 0 and 1, met {highest}; send no label map"
        )
    return np.ascontiguousarray(values.reshape(shape, order="F")).view(np.bool_)
