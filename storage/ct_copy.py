"""A CT as an export hands it out: the same voxels, and nothing that can name a patient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from configs.errors import CaseError, Reason
from storage.cases import CaseFile
from storage.gzip_blocks import write_gzip
from storage.image_stream import ImageStream, open_image_stream
from storage.nifti_header import NIFTI2_BYTES, NiftiHeader, parse_header
from storage.volume import Volume

_READ_BYTES = 1 << 20
_NO_EXTENSION = bytes(4)
_TEXT_FIELDS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")


def copy_ct(file: BinaryIO, source: CaseFile, volume: Volume) -> None:
    """Write a CT as ``.nii.gz``: type, byte order, scaling, affine and voxels bit by bit the same.

    Left out is what can carry a name or a path: the free texts of the header, its extensions, the
    file name inside the gzip, and whatever follows the voxels.

    Args:
        file: Open for writing bytes.
        source: The file as intake saw it.
        volume: The same file, opened.

    Raises:
        CaseError: CHANGED_FILE when the file is not the one that intake saw, or a fault in it; what
            was written by then is to be thrown away.
    """
    with open_image_stream(source.path) as stream:
        write_gzip(file, _blocks(stream, volume))
        sha256 = stream.finish(slack_bytes=volume.limits.slack_bytes)
    _check_sha256(source, sha256)


def check_unchanged(source: CaseFile, volume: Volume) -> None:
    """Read a file to its end and refuse it when it is not the one that intake saw.

    Raises:
        CaseError: As ``copy_ct``.
    """
    with open_image_stream(source.path) as stream:
        stream.skip(volume.layout.offset + volume.voxel_bytes)
        sha256 = stream.finish(slack_bytes=volume.limits.slack_bytes)
    _check_sha256(source, sha256)


def is_packed(source: CaseFile) -> bool:
    """Return whether a file is gzip and called ``.nii.gz``, so that a link can stand for it.

    Raises:
        CaseError: The file is gone or cannot be read.
    """
    with open_image_stream(source.path) as stream:
        return stream.is_gzip and source.path.name.lower().endswith(".nii.gz")


def _blocks(stream: ImageStream, volume: Volume) -> Iterator[bytes]:
    """Yield a clean header, then the voxels as they are stored."""
    start = stream.read_up_to(NIFTI2_BYTES)
    header = parse_header(start, volume.path.name)
    yield _without_texts(header).binaryblock + _NO_EXTENSION
    offset, voxel_bytes = volume.layout.offset, volume.voxel_bytes
    # The read for a long header reaches into the voxels behind a short one.
    first = start[offset : offset + voxel_bytes]
    yield first
    stream.skip(max(0, offset - len(start)))
    for at in range(len(first), voxel_bytes, _READ_BYTES):
        block = bytearray(min(_READ_BYTES, voxel_bytes - at))
        stream.read_into(memoryview(block))
        yield bytes(block)


def _without_texts(header: NiftiHeader) -> NiftiHeader:
    clean = header.copy()
    for field in _TEXT_FIELDS:
        if field in clean.keys():  # noqa: SIM118 a header is no mapping
            clean[field] = b""
    clean["vox_offset"] = int(clean["sizeof_hdr"]) + len(_NO_EXTENSION)
    return clean


def _check_sha256(source: CaseFile, sha256: str) -> None:
    if sha256 != source.sha256:
        raise CaseError(
            Reason.CHANGED_FILE,
            f"{source.path.name} must be the file that intake saw, but its SHA-256 is now "
            f"{sha256[:12]}..., not {source.sha256[:12]}...; take it in again",
        )
