"""Reference vectors: real inputs with the score and map from training; engines must reproduce them.

They are a safetensors file of the network's inputs, `score` and `anomaly_map`, 1 to 64 of each, beside the
model or embedded in it. Vectors of earlier versions, an `.npz`, are still read. Memory use is bounded by the
size of that many vectors of the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import ModelError, reason, sentence
from ast_edge.model.arrays import Array
from ast_edge.model.engine_file import AnyModel
from ast_edge.model.manifest import ModelSpec, TensorSpec
from ast_edge.model.npz import is_npz, read_npz

MOST_VECTORS = 64
_HEADER_BYTES = 1 << 16  # more than names, shapes and offsets of five tensors need, in either format


@dataclass(frozen=True, eq=False)
class References:
    """K inputs of the network, keyed and shaped as in `ModelSpec.input_specs`, and its outputs.

    `score` is float32 [K], `anomaly_map` float32 [K,h,h].
    """

    inputs: dict[str, Array]
    score: NDArray[np.float32]
    anomaly_map: NDArray[np.float32]

    def __len__(self) -> int:
        return int(self.score.shape[0])

    def to_bytes(self) -> bytes:
        """Return the vectors as a safetensors file; the same vectors always give the same bytes."""
        from safetensors.numpy import save  # noqa: PLC0415 (only where vectors are written or read)

        return save({name: np.ascontiguousarray(array) for name, array in self._arrays().items()})

    @classmethod
    def from_bytes(cls, data: bytes, spec: ModelSpec, where: str) -> References:
        """Read the vectors of a model, in either format; nothing is unpickled.

        Raises ModelError if the bytes are damaged, exceed the size of `MOST_VECTORS` vectors, or do not fit
        the model.
        """
        limit = largest_file(spec)
        if len(data) > limit:
            raise _misfit(where, f"at most {limit} bytes", str(len(data)))
        try:
            arrays = read_npz(data, limit) if is_npz(data) else _read_safetensors(data)
            score, anomaly_map = arrays.pop("score"), arrays.pop("anomaly_map")
        except Exception as exc:  # each format's reader raises many exceptions on damaged bytes
            raise ModelError(
                f"{where}: the reference vectors are damaged ({sentence(exc)}); "
                "copy or export the model again."
            ) from exc
        references = cls(arrays, score, anomaly_map)
        references.check(spec, where)
        return references

    def _arrays(self) -> dict[str, Array]:
        return {**self.inputs, "score": self.score, "anomaly_map": self.anomaly_map}

    def subset(self, indices: Sequence[int]) -> References:
        """Return the vectors at `indices`, in that order."""
        rows = np.asarray(indices, dtype=np.intp)
        inputs = {name: array[rows] for name, array in self.inputs.items()}
        return References(inputs, self.score[rows], self.anomaly_map[rows])

    def check(self, spec: ModelSpec, where: str) -> None:
        """Raise ModelError unless names, dtypes and shapes are those of `spec` and every number is finite."""
        specs = (*spec.input_specs(), *spec.output_specs())
        arrays = self._arrays()
        if sorted(arrays) != sorted(tensor.name for tensor in specs):
            raise _misfit(where, f"the tensors {[tensor.name for tensor in specs]}", str(sorted(arrays)))
        if self.score.ndim != 1 or not 1 <= len(self) <= MOST_VECTORS:
            expected = f"1 to {MOST_VECTORS} vectors"
            raise _misfit(where, expected, f"scores of shape {list(self.score.shape)}")
        for tensor in specs:
            self._check_array(tensor, arrays[tensor.name], where)

    def _check_array(self, tensor: TensorSpec, array: Array, where: str) -> None:
        shape = (len(self), *tensor.shape[1:])
        if array.dtype != np.dtype(tensor.dtype) or array.shape != shape:
            expected = f"'{tensor.name}' as {tensor.dtype} {list(shape)}"
            raise _misfit(where, expected, f"{array.dtype} {list(array.shape)}")
        if not np.isfinite(array).all():
            raise _misfit(where, f"finite numbers in '{tensor.name}'", "NaN or infinity")


def largest_file(spec: ModelSpec) -> int:
    """Return the largest possible size of a model's reference vectors in bytes."""
    tensors = (*spec.input_specs(), *spec.output_specs())
    vector = sum(int(np.prod(one.shape)) * np.dtype(one.dtype).itemsize for one in tensors)
    return MOST_VECTORS * vector + _HEADER_BYTES


def reference_path(model_path: Path) -> Path:
    """Path of a model's vectors, the same for `model.onnx`, `model.fp16.onnx` and `model.int8.rtx.engine`."""
    stem = model_path.stem.removesuffix(".rtx" if model_path.suffix == ".engine" else "")
    stem = stem.removesuffix(".fp16").removesuffix(".int8")
    return model_path.with_name(stem + ".reference.safetensors")


def earlier_reference_path(model_path: Path) -> Path:
    """Return the path used by versions up to 0.1."""
    return reference_path(model_path).with_suffix(".npz")


def load_references(model: AnyModel) -> tuple[References, str]:
    """Return the vectors of `model` and a description of their source.

    The file beside the model is used if it exists, and must be of the same export; otherwise the embedded
    vectors. Raises ModelError if there are none, or they are damaged or belong to another model.
    """
    beside = reference_path(model.path)
    for path in (beside, earlier_reference_path(model.path)):
        if path.exists():
            return _load_beside(model, path), str(path)
    if model.embedded_reference is None:
        raise ModelError(
            f"{model.path}: there are no reference vectors, neither in the file nor as {beside.name} "
            "beside it; copy that file too or export the model again."
        )
    found = References.from_bytes(model.embedded_reference, model.manifest, f"{model.path} (embedded)")
    return found, f"embedded in {model.path}"


def _load_beside(model: AnyModel, beside: Path) -> References:
    limit = largest_file(model.manifest)
    try:
        size = beside.stat().st_size
        if not beside.is_file() or size > limit:
            raise _misfit(str(beside), f"a file of at most {limit} bytes", f"{size} bytes or no file")
        with beside.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as exc:
        raise ModelError(f"{beside}: the reference vectors cannot be read ({reason(exc)}).") from exc
    found = hashlib.sha256(data).hexdigest()
    if found != model.manifest.reference_sha256:
        raise ModelError(
            f"{beside}: these reference vectors belong to another export than {model.path.name} (SHA-256 "
            f"expected {model.manifest.reference_sha256[:12]}..., found {found[:12]}...); "
            "copy both files of one export."
        )
    return References.from_bytes(data, model.manifest, str(beside))


def _read_safetensors(data: bytes) -> dict[str, Array]:
    from safetensors.numpy import load  # noqa: PLC0415

    return {name: array.copy() for name, array in load(data).items()}  # the arrays of `load` are read-only


def _misfit(where: str, expected: str, found: str) -> ModelError:
    return ModelError(
        f"{where}: the reference vectors do not fit the model (expected {expected}, found {found}); "
        "copy or export the model again."
    )
