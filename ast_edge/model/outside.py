"""Detects ONNX files with weights in another file, which is not covered by any digest.

Engines that receive a model as bytes look for such a file in the working directory. This module reads the
protobuf wire format of the messages that contain tensors (onnx.proto), without their payloads.
"""

from __future__ import annotations

from typing import BinaryIO

from ast_edge.model.wire import Field, WireError, scan

_MOST_FIELDS = 5_000_000
_DEEPEST = 64

# The fields of each message that lead to tensors, and the message type they contain.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor


def tensors_outside(stream: BinaryIO, size: int) -> bool:
    """Whether a tensor of the ONNX file in `stream` has its data in another file.

    Raises WireError if the file is not an ONNX file, or is nested too deeply or too long.
    """
    waiting = [("model", 0, size, 0)]
    fields = 0
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > _DEEPEST:
            raise WireError(f"messages are nested more than {_DEEPEST} deep")
        for field in scan(stream, start, end):
            fields += 1
            if fields > _MOST_FIELDS:
                raise WireError(f"more than {_MOST_FIELDS} fields")
            if message == "tensor" and _is_outside(stream, field):
                return True
            if (inner := _INSIDE[message].get(field.number)) is not None:
                waiting.append((inner, field.payload, field.end, depth + 1))
    return False


def _is_outside(stream: BinaryIO, field: Field) -> bool:
    if field.number != _DATA_LOCATION:
        return field.number == _EXTERNAL_DATA
    stream.seek(field.payload)
    return stream.read(field.end - field.payload) != b"\0"  # 0: in the tensor itself
