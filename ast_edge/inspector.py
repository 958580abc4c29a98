"""The runtime API: open a model, pass it frames, get verdicts."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.backends import BackendName, Engine, open_backend
from ast_edge.backends.base import Backend, FrameBackend, PartOutputs
from ast_edge.cuda import sources
from ast_edge.errors import BackendError
from ast_edge.frames.levels import GreyLevels, why_unfit
from ast_edge.frames.part import Part
from ast_edge.frames.pixel_formats import Colour
from ast_edge.frames.prepared import PreparedPart, prepare
from ast_edge.frames.resize import prepare_resize
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import ModelSpec
from ast_edge.verdict.calibration import p_value
from ast_edge.verdict.scoring import Verdict, judge

if TYPE_CHECKING:
    from typing_extensions import Self

    from ast_edge.cuda.host import HostPreparer

NO_PART = "no part found in the depth map"
_CLOSE_S = 2.0
NOT_SCORED = {"score": 0.0, "verdict": 0.0}
IN_FLIGHT = 2  # parts in flight of `inspect_async`, for engines without a number of their own


@dataclass(frozen=True, eq=False)
class Inspection:
    """The result for one part.

    `score` and `threshold` are in the map's unit; the part is rejected when score > threshold. `score` is NaN
    and `anomaly_map` float32 [h,h] contains NaN if there is nothing to judge. `stages_ms` has the times of
    the stages in milliseconds: `preprocess`, `engine` and `score`, and on a GPU the copies too. `p_value` is
    the fraction of good parts, including this one, with at least this score: None for a fault or a model
    without calibration. `levels` are the grey levels of the network's picture, None in mode depth.
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
    """Judges frames with one model; use as a context manager or call `close()`. Any thread may call it.

        with Inspector.open("model.onnx") as inspector:
            inspection = inspector.inspect(frame, colour="bgr")

    `spec` contains the mode, the preprocessing and the threshold. `Inspector(spec, backend)` accepts any
    engine and closes it together with itself.
    """

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self.spec = spec
        self._backend = backend
        self._closed = False
        self._lock = threading.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._preparer: HostPreparer | None = None  # without it, NumPy prepares the frames
        self._frames_by = "the engine"
        self._places = threading.BoundedSemaphore(
            backend.in_flight if isinstance(backend, FrameBackend) else IN_FLIGHT
        )
        batch = backend.batch
        if (backend.inputs, backend.outputs) != (spec.input_specs(batch), spec.output_specs(batch)):
            raise BackendError(
                f"{backend.name}: the engine was built for other tensors than a {spec.mode} model's; "
                "open the engine and the model from one file."
            )

        self._prepare()

    @classmethod
    def open(
        cls, path: Path | str, *, threads: int | None = None, backend: BackendName | Engine | None = None
    ) -> Self:
        """Check the model or engine at `path` and open it.

        A `.onnx` model runs on the CPU with `threads` threads (default: all cores). `backend` is
        "onnxruntime" or "openvino"; with "auto" or None it is the one that `ast-edge verify --backend auto`
        measured as the faster on this machine, else ONNX Runtime, and `engine_choice` tells why. An
        `ast_edge.backends.Engine` names another processor. A `.engine` built by `ast-edge build-engine` runs
        on the GPU. Raises ModelError when a file is refused, BackendError when the engine is missing, does
        not fit this machine or fails, UsageError for a backend that does not run such a file.
        """
        model, engine = open_backend(Path(path), threads=threads, backend=backend)
        return cls(model.manifest, engine)

    def inspect(
        self,
        frame: NDArray[np.uint8] | None = None,
        *,
        colour: Colour | None = None,
        depth_m: NDArray[np.floating[Any]] | None = None,
    ) -> Inspection:
        """Judge one part.

        `frame` is uint8 in the pixel format `colour`, [H,W,3] for rgb and bgr (modes rgb and rgbd; all
        formats: `ast_edge.frames.pixel_formats`); `depth_m` float32 or float64 [H,W] is the distance from the
        camera in metres, 0 where nothing was measured (modes depth and rgbd). Raises FrameError when an input
        is missing, not of this mode, or has the wrong dtype, shape or content; BackendError when the engine
        fails or the inspector was closed.
        """
        called = perf_counter_ns()
        part = self._part(frame, colour, depth_m)
        if isinstance(self._backend, FrameBackend):
            return self._judged(self._backend.submit(part).result(), part)
        return self._inspect_here(part, called)

    def inspect_async(
        self,
        frame: NDArray[np.uint8] | None = None,
        *,
        colour: Colour | None = None,
        depth_m: NDArray[np.floating[Any]] | None = None,
    ) -> Future[Inspection]:
        """Start inspecting one part and return at once; arguments as for `inspect`.

        Two parts may be in flight: while a GPU computes one, the next is copied to it. A third call waits for
        the first. The frame is copied before this returns, so its memory may be reused. Input errors of
        `inspect` are raised here, later ones by the future.
        """
        part = self._part(frame, colour, depth_m)
        self._places.acquire()
        try:
            judged = self._start(part)
        except BaseException:
            self._places.release()
            raise
        judged.add_done_callback(lambda _: self._places.release())
        return judged

    @property
    def engine(self) -> str:
        """Name of the engine that runs the network."""
        return self._backend.name

    @property
    def frames_by(self) -> str:
        """What prepares frames and depth maps: compiled kernels, NumPy and why not those, or the engine."""
        return self._frames_by

    @property
    def engine_choice(self) -> str | None:
        """Why this engine, in words, where it was left to a measurement; None where that was never made."""
        return self._backend.choice

    def close(self) -> None:
        """Close the engine after the parts in flight, within two seconds; a second call does nothing."""
        self._closed = True
        if self._worker is not None:
            self._worker.shutdown()
        # A part being judged by another thread finishes first, unless its engine hangs.
        waited = self._lock.acquire(timeout=_CLOSE_S)
        try:
            self._backend.close()
        finally:
            if waited:
                self._lock.release()

    def _prepare(self) -> None:
        """Prepare what depends only on the frame's size, if known, so that the first part does not wait."""
        spec, crop, trained = self.spec.preprocessing, self.spec.preprocessing.crop, self.spec.trained
        if isinstance(self._backend, FrameBackend):
            return
        found = sources.NOT_COMPILED
        if sources.LIBRARY.exists():
            from ast_edge.cuda.host import HostPreparer, host_kernels  # noqa: PLC0415 (only where it is used)

            kernels = host_kernels()
            if not isinstance(kernels, str):
                self._preparer, self._frames_by = HostPreparer(kernels, spec), "compiled kernels"
                return
            found = kernels
        self._frames_by = f"NumPy; compiled kernels: {found}"
        if self.spec.mode == "depth":
            return
        if crop is not None:
            prepare_resize(crop.height, crop.width, spec.image_size)
        elif trained is not None and trained.width.low == trained.width.high:
            prepare_resize(int(trained.height.high), int(trained.width.high), spec.image_size)

    def _prepare_part(self, part: Part) -> PreparedPart:
        if self._preparer is not None:
            return self._preparer.prepare(part)
        return prepare(part, self.spec.preprocessing)

    def _start(self, part: Part) -> Future[Inspection]:
        if not isinstance(self._backend, FrameBackend):
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="ast-edge-inspect")
            return self._worker.submit(self._inspect_here, part.copy(), perf_counter_ns())
        judged: Future[Inspection] = Future()

        def judge_it(answered: Future[PartOutputs]) -> None:
            try:
                judged.set_result(self._judged(answered.result(), part))
            except BaseException as exc:  # noqa: BLE001 (raised where the result is asked for)
                judged.set_exception(exc)

        self._backend.submit(part).add_done_callback(judge_it)
        return judged

    def _inspect_here(self, part: Part, called: int) -> Inspection:
        """Prepare on the CPU, then run the engine; `called` is the time of the call to `inspect` in ns."""
        with self._lock:
            return self._inspect_locked(part, called)

    def _inspect_locked(self, part: Part, called: int) -> Inspection:
        self._check_open()
        started = perf_counter_ns()
        found = self._prepare_part(part)
        levels, seen = found.levels, found.part_seen
        prepared = perf_counter_ns()
        waited, took = (started - called) / 1e6, (prepared - started) / 1e6
        stages = {"hand_off": waited, "preprocess": took, "engine": 0.0}
        if unfit := self._why_unfit(part, levels, part_seen=seen):
            return self._unjudged(unfit, {**stages, **NOT_SCORED}, levels)
        outputs = self._backend.run(self._batched(found.inputs))
        stages["engine"] = (perf_counter_ns() - prepared) / 1e6
        # A copy: the engine may own the memory, and a map is kept longer than until the next part.
        anomaly_map = outputs.anomaly_map[0].copy()
        return self._judged(PartOutputs(float(outputs.score[0]), anomaly_map, levels, seen, stages), part)

    def _judged(self, outputs: PartOutputs, part: Part) -> Inspection:
        """Return the verdict on the engine's outputs for `part`."""
        started = perf_counter_ns()
        levels = outputs.levels
        if unfit := self._why_unfit(part, levels, part_seen=outputs.part_seen):
            return self._unjudged(unfit, {**outputs.stages_ms, **NOT_SCORED}, levels)
        score, threshold = outputs.score, self.spec.threshold.value
        finite = bool(np.isfinite(outputs.anomaly_map).all())
        scored = perf_counter_ns()
        verdict, reason = judge(score, threshold)
        if verdict != "fault" and not finite:
            verdict, reason = "fault", "the network gave an anomaly map with values that are not finite"
        rank = None if verdict == "fault" else p_value(score, self.spec)
        own = {"score": (scored - started) / 1e6, "verdict": (perf_counter_ns() - scored) / 1e6}
        stages = {**outputs.stages_ms, **own}
        return Inspection(verdict, score, threshold, reason, outputs.anomaly_map, stages, rank, levels)

    def _why_unfit(self, part: Part, levels: GreyLevels | None, *, part_seen: bool) -> str | None:
        """Describe why the part cannot be judged; None if it can."""
        if not part_seen:
            return NO_PART
        if self.spec.trained is None:
            return None
        return why_unfit(self.spec.trained, (part.width, part.height), levels)

    def _batched(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Fill a batch that must be larger than one with copies of the part."""
        batch = self._backend.least_batch
        if batch == 1:
            return inputs
        return {name: np.repeat(array, batch, axis=0) for name, array in inputs.items()}

    def _part(self, frame: Array | None, colour: Colour | None, depth_m: Array | None) -> Part:
        """Return the part, or refuse one that does not fit this model."""
        self._check_open()
        return Part.checked(self.spec, frame, colour, depth_m)

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("the inspector was closed; open the model again.")

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
        try:
            self.close()
        except BackendError:
            if value is None:  # otherwise the first error is reported
                raise
