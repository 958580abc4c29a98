"""The one face of every engine: the public method checks, the private one computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ast_edge.errors import AstEdgeError, BackendError, FrameError, UsageError
from ast_edge.frames.levels import GreyLevels
from ast_edge.frames.part import Part
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self


class Outputs(NamedTuple):
    """What a network says: `score` float32 [N], raw, and `anomaly_map` float32 [N,h,h]."""

    score: NDArray[np.float32]
    anomaly_map: NDArray[np.float32]


class Backend(ABC):
    """An engine that runs one network.

    `inputs` and `outputs` are the tensors of `ModelSpec.input_specs` and `output_specs`; where their batch
    dimension is -1, any batch of at least one goes. One thread at a time.
    """

    name: str
    # Why this engine, in words: what was measured, or why that is void; None where nothing was.
    choice: str | None = None

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._closed = False

    @property
    def batch(self) -> int:
        """The batch size the network was built for, or -1 where any will do."""
        return self.inputs[0].shape[0]

    @property
    def least_batch(self) -> int:
        """The smallest batch that goes."""
        return max(self.batch, 1)

    def run(self, inputs: Mapping[str, Array]) -> Outputs:
        """Run the network on inputs of the names, dtypes and shapes of `self.inputs`.

        Raises FrameError when an input does not fit, BackendError when the engine fails, answers with other
        tensors than it promised, or was closed.
        """
        if self._closed:
            raise BackendError(f"{self.name}: the engine was closed; open the model again.")
        batch = self._checked_batch(inputs)
        outputs = self._run(inputs)
        found = outputs._asdict()
        for spec in self.outputs:
            _check_tensor(spec, found[spec.name], batch, BackendError, f"{self.name}: output")
        return outputs

    def close(self) -> None:
        """Free the engine; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    @abstractmethod
    def _run(self, inputs: Mapping[str, Array]) -> Outputs:
        """Compute; the inputs are checked already and the outputs will be."""

    def _close(self) -> None:  # noqa: B027 (an engine that holds nothing has nothing to do)
        """Free what the engine holds; called once."""

    def _checked_batch(self, inputs: Mapping[str, Array]) -> int:
        names = [spec.name for spec in self.inputs]
        if sorted(inputs) != sorted(names):
            raise FrameError(f"{self.name}: expected the inputs {names}, found {sorted(inputs)}.")
        first = inputs[names[0]]
        # A wrong type or rank is reported by the check below; any batch will do until then.
        rows = first.shape[0] if isinstance(first, np.ndarray) and first.ndim else 1
        batch = self.batch if self.batch != -1 else max(rows, 1)
        for spec in self.inputs:
            _check_tensor(spec, inputs[spec.name], batch, FrameError, f"{self.name}: input")
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except BackendError:
            if value is None:  # else the first error is the one to tell
                raise


@dataclass(frozen=True, eq=False)
class PartOutputs:
    """What an engine that prepares frames itself says about one part.

    `anomaly_map` float32 [h,h] and `score` are the network's; `levels` are the grey levels of the network's
    picture, None in mode depth; `part_seen` is false where the depth map shows no part, and true in mode rgb.
    `stages_ms` are the times of the stages in milliseconds.
    """

    score: float
    anomaly_map: NDArray[np.float32] = field(repr=False)
    levels: GreyLevels | None
    part_seen: bool
    stages_ms: Mapping[str, float]


class FrameBackend(Backend):
    """An engine that takes frames as the camera gave them; any thread may hand them over.

    `in_flight` parts may be on their way at once; handing over one more waits.
    """

    in_flight: int

    @abstractmethod
    def submit(self, part: Part) -> Future[PartOutputs]:
        """Start on one part; its frame and depth map are copied before this returns.

        The future raises FrameError for a depth map that cannot be used and BackendError when the engine
        fails. Raises BackendError when the engine was closed.
        """


def check_threads(threads: int | None) -> None:
    """Refuse fewer threads than one. Raises UsageError."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads: expected at least 1, found {threads}.")


def _check_tensor(spec: TensorSpec, tensor: Array, batch: int, error: type[AstEdgeError], where: str) -> None:
    if not isinstance(tensor, np.ndarray):
        raise error(f"{where} '{spec.name}': expected a NumPy array, found {type(tensor).__name__}.")
    shape = (batch, *spec.shape[1:])
    if tensor.dtype != np.dtype(spec.dtype) or tensor.shape != shape:
        raise error(
            f"{where} '{spec.name}': expected {spec.dtype} {list(shape)}, "
            f"found {tensor.dtype} {list(tensor.shape)}."
        )
