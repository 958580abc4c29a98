"""Reading of `.npz` files, the format of reference vectors up to version 0.1; with a size limit."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from ast_edge.model.arrays import Array

_MOST_MEMBERS = 16
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # with other methods, one read may unpack any amount


def is_npz(data: bytes) -> bool:
    """Whether `data` starts like a zip archive."""
    return data.startswith(b"PK")


def read_npz(data: bytes, limit: int) -> dict[str, Array]:
    """Return the arrays by name. Nothing is unpickled, and at most `limit` bytes are unpacked, whatever
    the archive claims.

    Raises ValueError beyond the limit, and the errors of `zipfile`, `zlib` and NumPy on damaged bytes.
    """
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise ValueError(f"more than {_MOST_MEMBERS} arrays")
        for member in members:
            content = _unpacked(archive, member, limit)
            limit -= len(content)
            arrays[member.filename.removesuffix(".npy")] = _read_npy(content)
    return arrays


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    if member.compress_type not in _METHODS:
        raise ValueError(f"{member.filename} is packed in an unknown way")
    with archive.open(member) as stream:
        content = stream.read(limit + 1)
        if len(content) > limit:
            raise ValueError("more bytes when unpacked than reference vectors of this model have")
        stream.read(1)  # at the end of the member its checksum is compared
    return content


def _read_npy(content: bytes) -> Array:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
    if read_header is None:
        raise ValueError(f"an array of .npy version {version}")
    shape, _, dtype = read_header(stream)
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if expected != len(content) - stream.tell():
        raise ValueError(f"an array of shape {shape} in {len(content)} bytes")
    stream.seek(0)
    array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array
