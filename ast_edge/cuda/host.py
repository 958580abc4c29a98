"""Prepares parts on the CPU with the compiled kernels of `preprocess.cu`, where there are any.

They give the bits of the definition for pictures and foregrounds, in a fraction of its time; a depth map
agrees to 1e-5 cm, as on a GPU. The library is used only if it was compiled from the sources beside it, and
after it has reproduced the definition on a frame in every pixel format and a depth map.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_edge.cuda import sources
from ast_edge.cuda.plan import FrameLayout, Launch, check_status, plan_inputs
from ast_edge.errors import FrameError
from ast_edge.frames.levels import Counts, grey_levels, levels_from_sums
from ast_edge.frames.part import Part
from ast_edge.frames.pixel_formats import COLOURS, decode, frame_size
from ast_edge.frames.prepared import PreparedPart, prepare
from ast_edge.frames.resize import resize_by_numpy
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import DepthPreprocessing, Preprocessing
from ast_edge.model.roi import Roi

_LAYOUTS_KEPT = 4  # a line has one; trying several must not fill the memory
_ONE = (ctypes.c_uint * 3)(1, 1, 1)
Layouts = tuple[FrameLayout | None, tuple[int, int, np.dtype[Any]] | None]


@dataclass(frozen=True)
class HostKernels:
    """The library's entry: launches a kernel by name, one block after the other on the calling thread."""

    path: Path
    launch: Any


def host_kernels() -> HostKernels | str:
    """The library of this machine, or why there is none, in words."""
    return load(sources.LIBRARY)


@lru_cache(maxsize=4)
def load(path: Path) -> HostKernels | str:
    """Load and try a library, once in a process."""
    if not path.exists():
        return sources.NOT_COMPILED
    try:
        library = ctypes.CDLL(str(path))
        digest = ctypes.c_char * 64
        found = digest.in_dll(library, "ast_edge_kernels_sha256").value.decode("ascii", "replace")
        kernels = HostKernels(path, library.ast_edge_launch)
    except (OSError, ValueError, AttributeError) as exc:
        return f"{path} cannot be loaded ({exc})"
    if found != sources.host_sha256():
        return f"{path} was compiled from other sources"
    if (colour := _differing(kernels)) is not None:
        return f"{path} gives other bits than NumPy for {colour}"
    return kernels


class HostPreparer:
    """Prepares parts for one model, one at a time."""

    def __init__(self, kernels: HostKernels, spec: Preprocessing) -> None:
        self._kernels, self._spec = kernels, spec
        self._prepared: OrderedDict[Layouts, _Layout] = OrderedDict()

    def prepare(self, part: Part) -> PreparedPart:
        """As `ast_edge.frames.prepared.prepare`, which also says what is wrong with a depth map."""
        frame = None if part.frame is None else _in_rows(part.frame)
        depth = None if part.depth_m is None else _packed(part.depth_m)
        layouts = _layouts(part, frame, depth)
        layout = self._prepared.get(layouts)
        if layout is None:
            layout = self._prepared[layouts] = _Layout(self._kernels, layouts, self._spec)
            if len(self._prepared) > _LAYOUTS_KEPT:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(layouts)
        found = layout.run(frame, depth)
        # The definition finds the same fault, and its sentence has the value.
        return prepare(part, self._spec) if found is None else found


class _Layout:
    """Memory and arguments for parts of one layout."""

    def __init__(self, kernels: HostKernels, layouts: Layouts, spec: Preprocessing) -> None:
        self._spec, self._launch = spec, kernels.launch
        self._counts = Counts.of(spec.image_size, spec.looked_at)
        plan = plan_inputs(*layouts, spec)
        self._frame, self._depth = (each is not None for each in layouts)
        # Inputs of the network are new for every part: who gets them may keep them.
        own = [name for name in plan.outputs if name not in ("image", "depth", "foreground")]
        self._memory: dict[str, Array] = {
            **{name: np.ascontiguousarray(array) for name, array in plan.constants.items()},
            **{name: _bytes(size) for name, size in plan.workspace.items()},
            **{name: _bytes(plan.outputs[name]) for name in own},
        }
        self._changing: dict[str, list[ctypes.c_void_p]] = {}
        self._calls = [self._wired(launch) for launch in plan.launches]

    def run(self, frame: NDArray[np.uint8] | None, depth_m: Array | None) -> PreparedPart | None:
        """Prepare one part; None for a depth map that cannot be used."""
        inputs = self._new_inputs()
        for name, array in (("frame", frame), ("depth_m", depth_m), *inputs.items()):
            for cell in self._changing.get(name, ()):
                cell.value = None if array is None else array.ctypes.data
        for name_, grid, shared_bytes, pointers, _ in self._calls:
            if self._launch(name_, grid, _ONE, shared_bytes, pointers):
                raise RuntimeError(f"there is no kernel {name_.decode()}")
        try:
            empty = check_status(int(self._memory["status"].view(np.int32)[0]))
        except FrameError:
            return None
        levels = None
        if self._frame:
            levels = levels_from_sums(self._memory["levels"].view(np.uint64), self._counts)
        return PreparedPart(inputs, levels, not (self._depth and empty))

    def _new_inputs(self) -> dict[str, Array]:
        inputs: dict[str, Array] = {}
        if self._frame:
            inputs["image"] = np.empty((1, self._spec.image_size, self._spec.image_size, 3), np.uint8)
        if self._depth:
            cells = self._spec.map_size
            inputs["depth"] = np.empty((1, 1, 8 * cells, 8 * cells), np.float32)
            inputs["foreground"] = np.empty((1, 1, cells, cells), np.float32)
        return inputs

    def _wired(self, launch: Launch) -> tuple[bytes, Any, int, Any, list[Any]]:
        """The arguments of a launch as the kernels take them; the cells must live as long as the pointers."""
        cells: list[Any] = []
        for value in launch.arguments:
            if isinstance(value, str):
                known = self._memory.get(value)
                cells.append(ctypes.c_void_p(None if known is None else known.ctypes.data))
                if known is None:
                    self._changing.setdefault(value, []).append(cells[-1])
            else:
                cells.append(
                    ctypes.c_double(value) if isinstance(value, np.float64) else ctypes.c_int(int(value))
                )
        pointers = (ctypes.c_void_p * len(cells))(*map(ctypes.addressof, cells))
        return launch.kernel.encode(), (ctypes.c_uint * 3)(*launch.grid), launch.shared_bytes, pointers, cells


def _layouts(part: Part, frame: NDArray[np.uint8] | None, depth: Array | None) -> Layouts:
    of_frame = None
    if frame is not None and part.colour is not None:
        of_frame = FrameLayout(part.colour, *frame_size(frame, part.colour), pitch=frame.strides[0])
    return of_frame, None if depth is None else (depth.shape[0], depth.shape[1], depth.dtype)


def _in_rows(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame, or a copy if the bytes of a row do not lie one after the other, or rows overlap."""
    row = frame.shape[1] * (frame.shape[2] if frame.ndim == 3 else 1)
    return frame if frame[0].flags.c_contiguous and frame.strides[0] >= row else np.ascontiguousarray(frame)


def _packed(depth_m: NDArray[np.floating[Any]]) -> Array:
    return np.require(depth_m, requirements=("C_CONTIGUOUS", "ALIGNED"))


def _bytes(size: int) -> NDArray[np.uint8]:
    """Memory that begins at a multiple of 16, as the kernels expect."""
    return np.empty(-(-size // 16) * 2, np.float64).view(np.uint8)


def _differing(kernels: HostKernels) -> str | None:
    """The first input for which the library gives other numbers than the definition."""
    rng = np.random.default_rng(0)
    spec = Preprocessing(image_size=13, map_size=1, roi=Roi.of(rng.random((13, 13)) < 0.7, (0, 0, 0)))
    preparer, everything = (
        HostPreparer(kernels, spec),
        HostPreparer(kernels, Preprocessing(image_size=13, map_size=1)),
    )
    # Of few pixels, and not by Pillow: this is done at the start of every process.
    shapes = {"rgb": (34, 46, 3), "bgr": (34, 46, 3), "yuyv": (34, 46, 2), "nv12": (51, 46)}
    for colour in COLOURS:
        frame = rng.integers(0, 256, shapes.get(colour, (34, 46)), dtype=np.uint8)
        image = resize_by_numpy(decode(frame, colour), spec.image_size)
        part = Part(frame, colour, None, 46, 34)
        for found, looked_at in ((preparer.prepare(part), spec.looked_at), (everything.prepare(part), None)):
            same = np.array_equal(found.inputs["image"][0], image)
            if not same or found.levels != grey_levels(image, looked_at):
                return colour
    spec = Preprocessing(image_size=13, map_size=3, depth=DepthPreprocessing())
    preparer = HostPreparer(kernels, spec)
    z_m = np.full((34, 46), 0.5, np.float32)
    z_m[8:26, 10:36] -= rng.uniform(0.0, 0.02, (18, 26)).astype(np.float32)
    z_m[12:14, 15:20] = 0.0
    part = Part(None, None, z_m, 46, 34)
    found, expected = preparer.prepare(part), prepare(part, spec)
    same = np.array_equal(found.inputs["foreground"], expected.inputs["foreground"])
    close = np.allclose(found.inputs["depth"], expected.inputs["depth"], rtol=0, atol=1e-5)
    return None if same and close and found.part_seen else "depth maps"
