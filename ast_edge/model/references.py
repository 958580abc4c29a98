"""Reference vectors: real inputs with the score and map that training gave, and the proof against them.

Every engine must reproduce them before it is used.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import ModelError, reason
from ast_edge.files import sha256_file
from ast_edge.model.arrays import Array
from ast_edge.model.engine_file import AnyModel
from ast_edge.model.manifest import ModelSpec, TensorSpec

_MAX_UNPACKED_BYTES = 1 << 30
_MAX_PACKED_BYTES = 1 << 29
_OUTPUTS = ("score", "anomaly_map")


@dataclass(frozen=True, eq=False)
class References:
    """K inputs of the network, keyed and shaped as in `ModelSpec.input_specs`, and what it answered.

    `score` is float32 [K], `anomaly_map` float32 [K,h,h].
    """

    inputs: dict[str, Array]
    score: NDArray[np.float32]
    anomaly_map: NDArray[np.float32]

    def __len__(self) -> int:
        return int(self.score.shape[0])

    def to_bytes(self) -> bytes:
        """The vectors as a compressed `.npz`; the same vectors always give the same bytes."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {**self.inputs, "score": self.score, "anomaly_map": self.anomaly_map}
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> References:
        """Read the bytes of an `.npz`; nothing is unpickled. Raises ModelError when they are damaged."""
        try:
            arrays = _read_arrays(data)
            return cls(score=arrays.pop("score"), anomaly_map=arrays.pop("anomaly_map"), inputs=arrays)
        except Exception as exc:  # zipfile, zlib and NumPy each raise many kinds on damaged bytes
            raise ModelError(
                f"{where}: the reference vectors are damaged ({type(exc).__name__}: {exc}); "
                "copy or export the model again."
            ) from exc

    def subset(self, indices: Sequence[int]) -> References:
        """The vectors at `indices`, in that order."""
        rows = np.asarray(indices, dtype=np.intp)
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        return References(inputs, self.score[rows], self.anomaly_map[rows])

    def check(self, spec: ModelSpec, where: str) -> None:
        """Raise ModelError unless names, dtypes and shapes are those of `spec` and every number is finite."""
        specs = (*spec.input_specs(), *spec.output_specs())
        arrays = {**self.inputs, "score": self.score, "anomaly_map": self.anomaly_map}
        if sorted(arrays) != sorted(tensor.name for tensor in specs):
            raise _misfit(where, f"the tensors {[tensor.name for tensor in specs]}", str(sorted(arrays)))
        if self.score.ndim != 1 or not len(self):
            raise _misfit(where, "at least one vector", f"scores of shape {list(self.score.shape)}")
        for tensor in specs:
            self._check_array(tensor, arrays[tensor.name], where)

    def _check_array(self, tensor: TensorSpec, array: Array, where: str) -> None:
        shape = (len(self), *tensor.shape[1:])
        if array.dtype != np.dtype(tensor.dtype) or array.shape != shape:
            expected = f"'{tensor.name}' as {tensor.dtype} {list(shape)}"
            raise _misfit(where, expected, f"{array.dtype} {list(array.shape)}")
        if not np.isfinite(array).all():
            raise _misfit(where, f"finite numbers in '{tensor.name}'", "NaN or infinity")


def reference_path(model_path: Path) -> Path:
    """Path of a model's vectors: `model.onnx`, `model.fp16.onnx` and `model.int8.onnx` have the same."""
    stem = model_path.stem.removesuffix(".fp16").removesuffix(".int8")
    return model_path.with_name(stem + ".reference.npz")


def load_references(model: AnyModel) -> tuple[References, str]:
    """The vectors of `model` and where they came from, in words.

    The file beside the model is used when it is there, and must be the one of this export; otherwise the
    vectors that the model carries. Raises ModelError when there are none, or they are damaged or belong to
    another model.
    """
    beside = reference_path(model.path)
    if beside.exists():
        return _load_beside(model, beside), str(beside)
    if model.embedded_reference is None:
        raise ModelError(
            f"{model.path}: there are no reference vectors, neither in the file nor as {beside.name} "
            "beside it; copy that file too or export the model again."
        )
    where = f"{model.path} (embedded)"
    references = References.from_bytes(model.embedded_reference, where)
    references.check(model.manifest, where)
    return references, f"embedded in {model.path}"


def _load_beside(model: AnyModel, beside: Path) -> References:
    try:
        size = beside.stat().st_size
        if not beside.is_file() or size > _MAX_PACKED_BYTES:
            raise _misfit(
                str(beside), f"a file of at most {_MAX_PACKED_BYTES} bytes", f"{size} bytes or no file"
            )
        found = sha256_file(beside)
        if found != model.manifest.reference_sha256:
            raise ModelError(
                f"{beside}: these reference vectors belong to another export than {model.path.name} (SHA-256 "
                f"expected {model.manifest.reference_sha256[:12]}..., found {found[:12]}...); "
                "copy both files of one export."
            )
        data = beside.read_bytes()
    except OSError as exc:
        raise ModelError(f"{beside}: the reference vectors cannot be read ({reason(exc)}).") from exc
    references = References.from_bytes(data, str(beside))
    references.check(model.manifest, str(beside))
    return references


def _read_arrays(data: bytes) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MAX_UNPACKED_BYTES:
            raise ValueError(f"more than {_MAX_UNPACKED_BYTES} bytes when unpacked")
        arrays = {}
        for member in members:
            stream = io.BytesIO(archive.read(member))
            arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(
                stream, allow_pickle=False
            )
        return arrays


def _misfit(where: str, expected: str, found: str) -> ModelError:
    return ModelError(
        f"{where}: the reference vectors do not fit the model (expected {expected}, found {found}); "
        "copy or export the model again."
    )
