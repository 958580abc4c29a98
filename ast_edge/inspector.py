"""The runtime's face: open a model, hand it frames, get verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.backends import open_backend
from ast_edge.backends.base import Array, Backend
from ast_edge.calibration import p_value
from ast_edge.errors import BackendError, FrameError
from ast_edge.imaging import GreyLevels, grey_levels, why_unfit
from ast_edge.manifest import ModelSpec
from ast_edge.preprocess import Colour, depth_input, image_input
from ast_edge.scoring import Verdict, judge

if TYPE_CHECKING:
    from typing_extensions import Self

NO_PART = "no part found in the depth map"


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found about one part.

    `score` and `threshold` are in the map's unit; the part is rejected when score > threshold. `score` is NaN
    and `anomaly_map` float32 [h,h] holds NaN where the network was not run. `stages_ms` has the time of the
    stages `preprocess`, `engine` and `score` in milliseconds. `p_value` is the share of good parts, this one
    counted among them, that score no less: None for a fault or a model that was not calibrated. `levels` are
    the grey levels of the network's picture, None in mode depth.
    """

    verdict: Verdict
    score: float
    threshold: float
    reason: str
    anomaly_map: NDArray[np.float32] = field(repr=False)
    stages_ms: Mapping[str, float]
    p_value: float | None = None
    levels: GreyLevels | None = None


class Inspector:
    """Judges frames with one model; use as a context manager or call `close()`. One thread at a time.

        with Inspector.open("model.onnx") as inspector:
            inspection = inspector.inspect(frame, colour="bgr")

    `spec` holds the mode, the preprocessing and the threshold. `Inspector(spec, backend)` takes any engine
    and closes it with itself.
    """

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self.spec = spec
        self._backend = backend
        self._closed = False
        batch = backend.batch
        if (backend.inputs, backend.outputs) != (spec.input_specs(batch), spec.output_specs(batch)):
            raise BackendError(
                f"{backend.name}: the engine was built for other tensors than a {spec.mode} model's; "
                "open the engine and the model from one file."
            )

    @classmethod
    def open(cls, path: Path | str, *, threads: int | None = None) -> Self:
        """Check the model file at `path` and open it on the CPU with `threads` threads (default: all cores).

        Raises ModelError when the file is refused, BackendError when the engine is missing or fails.
        """
        model, backend = open_backend(Path(path), threads=threads)
        return cls(model.manifest, backend)

    def inspect(
        self,
        frame: NDArray[np.uint8] | None = None,
        *,
        colour: Colour | None = None,
        depth_m: NDArray[np.floating[Any]] | None = None,
    ) -> Inspection:
        """Judge one part.

        `frame` is uint8 [H,W,3] in the order that `colour` says, or [H,W] for mono (modes rgb and rgbd);
        `depth_m` float32 or float64 [H,W] is the distance from the camera in metres, 0 where nothing was
        measured (modes depth and rgbd). Raises FrameError when an input is missing, not of this mode, or has
        the wrong dtype, shape or content; BackendError when the engine fails or the inspector was closed.
        """
        if self._closed:
            raise BackendError("the inspector was closed; open the model again.")
        started = perf_counter_ns()
        inputs = self._inputs(frame, colour, depth_m)
        levels = grey_levels(inputs["image"][0]) if "image" in inputs else None
        unfit = self._why_unfit(inputs, frame, depth_m, levels)
        prepared = perf_counter_ns()
        if unfit is not None:
            return self._unjudged(unfit, _milliseconds(started, prepared, prepared, prepared), levels)
        outputs = self._backend.run(self._batched(inputs))
        computed = perf_counter_ns()
        # A copy: the engine may own the memory, and a map is kept longer than the next part takes.
        anomaly_map = outputs.anomaly_map[0].copy()
        score, threshold = float(outputs.score[0]), self.spec.threshold.value
        verdict, reason = judge(score, threshold)
        if verdict != "fault" and not np.isfinite(anomaly_map).all():
            verdict, reason = "fault", "the network gave an anomaly map with values that are not finite"
        rank = None if verdict == "fault" else p_value(score, self.spec)
        stages = _milliseconds(started, prepared, computed, perf_counter_ns())
        return Inspection(verdict, score, threshold, reason, anomaly_map, stages, rank, levels)

    @property
    def engine(self) -> str:
        """Name of the engine that runs the network."""
        return self._backend.name

    def close(self) -> None:
        """Close the engine; a second call does nothing."""
        self._closed = True
        self._backend.close()

    def _inputs(
        self,
        frame: NDArray[np.uint8] | None,
        colour: Colour | None,
        depth_m: NDArray[np.floating[Any]] | None,
    ) -> dict[str, Array]:
        """The network's inputs for one part, each with a batch dimension of 1."""
        self._check_presence(frame, colour, depth_m)
        inputs: dict[str, Array] = {}
        if frame is not None and colour is not None:
            inputs["image"] = image_input(frame, colour, self.spec.preprocessing)[None]
        if depth_m is not None:
            depth = depth_input(depth_m, self.spec.preprocessing)
            _check_same_pixels(frame, depth_m)
            inputs["depth"], inputs["foreground"] = depth.depth[None], depth.foreground[None]
        return inputs

    def _why_unfit(
        self,
        inputs: dict[str, Array],
        frame: Array | None,
        depth_m: Array | None,
        levels: GreyLevels | None,
    ) -> str | None:
        """In words why the frame cannot be judged; None when it can."""
        if "foreground" in inputs and not inputs["foreground"].any():
            return NO_PART
        seen = frame if frame is not None else depth_m
        if self.spec.trained is None or seen is None:
            return None
        return why_unfit(self.spec.trained, (seen.shape[1], seen.shape[0]), levels)

    def _batched(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """A fixed batch larger than one is filled with copies of the part."""
        batch = max(self._backend.batch, 1)
        if batch == 1:
            return inputs
        return {name: np.repeat(array, batch, axis=0) for name, array in inputs.items()}

    def _check_presence(self, frame: Array | None, colour: Colour | None, depth_m: Array | None) -> None:
        mode = self.spec.mode
        for name, value, wanted in (
            ("frame", frame, mode != "depth"),
            ("colour", colour, mode != "depth"),
            ("depth_m", depth_m, mode != "rgb"),
        ):
            if wanted and value is None:
                raise FrameError(
                    f"mode {mode} of this model needs `{name}`, found none; give it to inspect()."
                )
            if not wanted and value is not None:
                raise FrameError(f"mode {mode} of this model has no use for `{name}`; leave it out.")

    def _unjudged(self, reason: str, stages_ms: Mapping[str, float], levels: GreyLevels | None) -> Inspection:
        grid = self.spec.preprocessing.map_size
        unknown = np.full((grid, grid), np.nan, dtype=np.float32)
        return Inspection(
            "fault", math.nan, self.spec.threshold.value, reason, unknown, stages_ms, None, levels
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_same_pixels(frame: Array | None, depth_m: Array) -> None:
    if frame is not None and frame.shape[:2] != depth_m.shape:
        raise FrameError(
            f"frame and depth map must show the same pixels, found {list(frame.shape[:2])} and "
            f"{list(depth_m.shape)} (height, width); register the depth map to the frame."
        )


def _milliseconds(started: int, prepared: int, computed: int, scored: int) -> dict[str, float]:
    return {
        "preprocess": (prepared - started) / 1e6,
        "engine": (computed - prepared) / 1e6,
        "score": (scored - computed) / 1e6,
    }
