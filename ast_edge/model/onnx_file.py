"""The model file: one self-contained ONNX file, and the checks before it is run.

Requirements on a model file:

* a regular file of 1 byte to 2 GiB (protobuf's limit) that holds one well-formed ONNX `ModelProto`: every
  top-level field ends inside the file, and there is a graph;
* it has exactly one metadata entry `ast_edge.manifest`, the sealed JSON of `Manifest`, under 16 MiB, and that
  entry is the last of its metadata entries, so that a truncated file is always detected;
* it has at most one entry `ast_edge.reference`, reference vectors in base64, under 64 MiB, whose SHA-256 is
  `embedded_reference_sha256` of the manifest;
* no tensor has its data in another file;
* the SHA-256 over the raw bytes (tag, length and payload) of all top-level fields except the metadata, in
  file order, is `network_sha256` of the manifest.

Only the protobuf wire format is read, so no ONNX package is needed. The file is read once, and engines
receive the bytes that were checked: replacing the file meanwhile has no effect. The digests detect damage and
careless edits; they are not a signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from ast_edge.errors import ModelError, reason
from ast_edge.files import atomic_path
from ast_edge.model.manifest import MANIFEST_KEY, REFERENCE_KEY, Manifest
from ast_edge.model.outside import tensors_outside
from ast_edge.model.wire import BYTES, VARINT, Field, WireError, bytes_field, scan

# Prefixes of the nodes that an FP16 model computes in FP16, and an INT8 model may compute in INT8.
HALF_SCOPES = ("/trunk/body/", "/memories/trunk/body/", "/student/")

MAX_FILE_BYTES = (1 << 31) - 1
MAX_MANIFEST_BYTES = 16 << 20
MAX_REFERENCE_BYTES = 64 << 20
_MAX_KEY_BYTES = 1 << 10
# A file of a million fields is a denial-of-service attempt; the largest exports have a few thousand
# functions.
_MAX_FIELDS = 100_000
_BLOCK = 1 << 20

_IR_VERSION, _GRAPH, _METADATA = 1, 7, 14
# Wire types of ModelProto's fields (onnx.proto); unknown fields of a later ONNX are accepted.
_MODEL_FIELDS = {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES, 8: BYTES}
_MODEL_FIELDS |= {14: BYTES, 20: BYTES, 25: BYTES}


@dataclass(frozen=True)
class ModelFile:
    """A model file that passed every check: its bytes, manifest and embedded reference vectors.

    `embedded_reference` is None for a file without vectors, else bytes for `ast_edge.model.references`.
    """

    path: Path
    content: bytes = field(repr=False)
    manifest: Manifest
    embedded_reference: bytes | None = field(repr=False)

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return len(self.content)


def choice_path(model: Path) -> Path:
    """`model.onnx.choice.json`, which says what runs the model fastest: `ast_edge.model.engine_choice`."""
    return model.with_name(model.name + ".choice.json")


def read_model_file(path: Path) -> ModelFile:
    """Check `path` from cheap to expensive and return its content.

    Raises ModelError, in one sentence, if the file does not exist, is not an ONNX file, is truncated, was not
    exported by ast-edge, comes from a newer ast-edge, or was changed after export.
    """
    _checked_size(path)
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size  # of the opened file: another may have taken its name
            _read_manifest(stream, path, size)  # other files are refused before they are read completely
            stream.seek(0)
            content = stream.read(size)
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    return _checked(path, content)


def _checked(path: Path, content: bytes) -> ModelFile:
    stream = io.BytesIO(content)
    fields, metadata, manifest = _read_manifest(stream, path, len(content))
    reference = _decode_reference(metadata.get(REFERENCE_KEY), path)
    _check_reference(reference, manifest, path)
    found = _hash_network(stream, path, fields)
    if found != manifest.network_sha256:
        raise ModelError(
            f"{path}: the network is damaged or was changed after export (SHA-256 expected "
            f"{manifest.network_sha256[:12]}..., found {found[:12]}...); copy or export the model again."
        )
    _refuse_weights_outside(stream, path, len(content))
    return ModelFile(path, content, manifest, reference)


def _refuse_weights_outside(stream: BinaryIO, path: Path, size: int) -> None:
    try:
        outside = tensors_outside(stream, size)
    except WireError as exc:
        raise _not_onnx(path, str(exc)) from exc
    if outside:
        raise ModelError(
            f"{path}: the network has weights in another file, outside of its digest; expected a model "
            "file that is self-contained; export the model again."
        )


def _read_manifest(stream: BinaryIO, path: Path, size: int) -> tuple[list[Field], dict[str, bytes], Manifest]:
    """Return the top-level fields of the file, our metadata and the manifest in it."""
    fields = _model_fields(stream, path, size)
    metadata = _read_metadata(stream, path, fields)
    return fields, metadata, Manifest.from_json(_manifest_text(metadata, path), str(path))


def network_sha256(path: Path) -> str:
    """Return the SHA-256 of the network in an ONNX file: its top-level fields except metadata, in order.

    Raises ModelError if `path` is not a complete ONNX file.
    """
    size = _checked_size(path)
    try:
        with path.open("rb") as stream:
            return _hash_network(stream, path, _model_fields(stream, path, size))
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def write_model_file(target: Path, network: Path, manifest: Manifest, reference: bytes | None) -> ModelFile:
    """Write `target` atomically: the ONNX file `network` with `reference` and `manifest` in its metadata.

    The two entries are appended, so the bytes of the network are exactly those that were hashed; a manifest
    without the digest of `reference` gets it. The file is read back through `read_model_file` before it is
    renamed. Raises ModelError if it would be refused.
    """
    entries = []
    if reference is not None:
        entries.append(_metadata_entry(REFERENCE_KEY, base64.b64encode(reference)))
    entries.append(_manifest_entry(manifest, reference))
    try:
        with network.open("rb") as stream:
            return _write(target, itertools.chain(_blocks(stream, 0, MAX_FILE_BYTES), entries))
    except OSError as exc:
        raise _unreadable(network, exc) from exc


def rewrite_manifest(model: ModelFile, manifest: Manifest) -> ModelFile:
    """Replace the manifest that `model` was read with by `manifest`; every other byte is kept.

    Atomic: a reader sees the old file or the new one. Raises ModelError, and leaves the file unchanged, if it
    was changed since it was read, or would be refused with this manifest.
    """
    if read_model_file(model.path).content != model.content:
        raise ModelError(f"{model.path}: was changed by another process meanwhile; run the command again.")
    fields = _model_fields(io.BytesIO(model.content), model.path, model.size)
    # The manifest is the last metadata entry: `read_model_file` requires it.
    old = [field for field in fields if field.number == _METADATA][-1]
    content = memoryview(model.content)
    entry = _manifest_entry(manifest, model.embedded_reference)
    return _write(model.path, (content[: old.start], content[old.end :], entry))


def _write(target: Path, blocks: Iterable[bytes | memoryview]) -> ModelFile:
    """Write `blocks` to `target` atomically, if together they form a model file."""
    try:
        with atomic_path(target) as temporary:
            with temporary.open("wb") as stream:
                stream.writelines(blocks)
            written = read_model_file(temporary)
    except OSError as exc:
        raise ModelError(
            f"{target}: the model file cannot be written ({reason(exc)}); check folder and disk space."
        ) from exc
    return replace(written, path=target)


def _blocks(stream: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end` in blocks; fewer if the stream ends earlier."""
    stream.seek(start)
    while start < end and (block := stream.read(min(end - start, _BLOCK))):
        yield block
        start += len(block)


def _checked_size(path: Path) -> int:
    try:
        status = path.stat()
    except FileNotFoundError as exc:
        raise ModelError(
            f"{path}: there is no such file; expected a model made by `ast-edge export`."
        ) from exc
    except (OSError, ValueError) as exc:  # ValueError: a null byte in the path
        raise _unreadable(path, exc) from exc
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ModelError(f"{path}: this is {kind}; expected a model file made by `ast-edge export`.")
    if status.st_size == 0:
        raise ModelError(f"{path}: the file is empty; copy or export the model again.")
    if status.st_size > MAX_FILE_BYTES:
        raise ModelError(
            f"{path}: not an ONNX file, which ends at 2 GiB; found {status.st_size / (1 << 30):.1f} GiB; "
            "give a model made by `ast-edge export`."
        )
    return status.st_size


def _unreadable(path: Path, exc: Exception) -> ModelError:
    return ModelError(
        f"{path}: the model file cannot be read ({reason(exc)}); check the path and its permissions."
    )


def _model_fields(stream: BinaryIO, path: Path, size: int) -> list[Field]:
    """Return the top-level fields of the ModelProto; refuses anything else."""
    fields: list[Field] = []
    try:
        fields.extend(itertools.islice(scan(stream, 0, size), _MAX_FIELDS))
    except WireError as exc:
        # `fields` contains those before the failure; every ONNX writer puts the IR version first.
        if exc.cut and fields and fields[0].number == _IR_VERSION:
            raise ModelError(
                f"{path}: the file is truncated after {size} bytes ({exc}); copy or export the model again."
            ) from exc
        raise _not_onnx(path, str(exc)) from exc
    if fields[-1].end != size:
        raise _not_onnx(path, f"more than {_MAX_FIELDS} top-level fields")
    if wrong := [e.number for e in fields if _MODEL_FIELDS.get(e.number, e.wire_type) != e.wire_type]:
        raise _not_onnx(path, f"field {wrong[0]} has another wire type")
    if not any(entry.number == _GRAPH for entry in fields):
        raise _not_onnx(path, "it contains no graph")
    return fields


def _not_onnx(path: Path, why: str) -> ModelError:
    return ModelError(f"{path}: not an ONNX file ({why}); give a model made by `ast-edge export`.")


def _read_metadata(stream: BinaryIO, path: Path, fields: list[Field]) -> dict[str, bytes]:
    """Return our own metadata entries; foreign ones are skipped unread."""
    found: dict[str, bytes] = {}
    for entry in (entry for entry in fields if entry.number == _METADATA):
        if MANIFEST_KEY in found:
            raise ModelError(
                f"{path}: metadata was added after the manifest, which must be the last entry; "
                "export the model again."
            )
        key, value = _metadata_parts(stream, path, entry)
        name = _read_range(stream, path, key, _MAX_KEY_BYTES).decode(errors="replace")
        if name in (MANIFEST_KEY, REFERENCE_KEY):
            if name in found:
                raise ModelError(f"{path}: the metadata key '{name}' occurs twice; export the model again.")
            limit = MAX_MANIFEST_BYTES if name == MANIFEST_KEY else MAX_REFERENCE_BYTES
            found[name] = _read_range(stream, path, value, limit)
    return found


def _metadata_parts(stream: BinaryIO, path: Path, entry: Field) -> tuple[Field, Field]:
    """Return key and value of a StringStringEntryProto."""
    try:
        # At most three fields, so that an entry of a billion empty fields is refused quickly.
        parts = sorted(itertools.islice(scan(stream, entry.payload, entry.end), 3))
    except WireError as exc:
        raise _damaged_entry(path, entry) from exc
    if [(part.number, part.wire_type) for part in parts] != [(1, BYTES), (2, BYTES)]:
        raise _damaged_entry(path, entry)
    return parts[0], parts[1]


def _damaged_entry(path: Path, entry: Field) -> ModelError:
    return ModelError(
        f"{path}: the metadata entry at byte {entry.start} is damaged; copy or export the model again."
    )


def _read_range(stream: BinaryIO, path: Path, part: Field, limit: int) -> bytes:
    length = part.end - part.payload
    if length > limit:
        raise ModelError(
            f"{path}: the metadata at byte {part.payload} is too large (at most {limit} bytes, "
            f"found {length}); export the model again."
        )
    stream.seek(part.payload)
    return stream.read(length)


def _manifest_text(metadata: dict[str, bytes], path: Path) -> bytes:
    if MANIFEST_KEY not in metadata:
        raise ModelError(
            f"{path}: an ONNX file without an ast-edge manifest; "
            f"make a model with `ast-edge export RUN -o {path.name}`."
        )
    return metadata[MANIFEST_KEY]


def _decode_reference(text: bytes | None, path: Path) -> bytes | None:
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ModelError(
            f"{path}: the embedded reference vectors are damaged ({exc}); copy or export the model again."
        ) from exc


def _check_reference(reference: bytes | None, manifest: Manifest, path: Path) -> None:
    expected = manifest.embedded_reference_sha256
    found = None if reference is None else hashlib.sha256(reference).hexdigest()
    if found != expected and (expected is not None or manifest.format_version > 2):
        raise ModelError(
            f"{path}: the embedded reference vectors are not those exported with it; "
            "copy or export the model again."
        )


def _hash_network(stream: BinaryIO, path: Path, fields: list[Field]) -> str:
    digest = hashlib.sha256()
    for entry in (entry for entry in fields if entry.number != _METADATA):
        left = entry.end - entry.start
        for block in _blocks(stream, entry.start, entry.end):
            digest.update(block)
            left -= len(block)
        if left:
            raise ModelError(f"{path}: the file became shorter while it was read; copy the model again.")
    return digest.hexdigest()


def _manifest_entry(manifest: Manifest, reference: bytes | None) -> bytes:
    if reference is not None and manifest.embedded_reference_sha256 is None:
        digest = hashlib.sha256(reference).hexdigest()
        manifest = manifest.model_copy(update={"embedded_reference_sha256": digest})
    return _metadata_entry(MANIFEST_KEY, manifest.to_json().encode())


def _metadata_entry(key: str, value: bytes) -> bytes:
    return bytes_field(_METADATA, bytes_field(1, key.encode()) + bytes_field(2, value))
