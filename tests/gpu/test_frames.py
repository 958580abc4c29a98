"""From frame to verdict on the GPU: kernels, graph, threads, memory over time."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_edge.cuda.driver import free_memory
from ast_edge.errors import FrameError
from ast_edge.frames.depth import depth_input
from ast_edge.frames.part import Part
from ast_edge.frames.pixel_formats import COLOURS, Colour
from ast_edge.frames.preprocess import image_input
from ast_edge.inspector import Inspector
from ast_edge.model.engine_file import read_engine_file
from ast_edge.model.manifest import Mode
from tests.frames.test_pixel_formats import camera_frame
from tests.gpu.conftest import REHEARSAL, Build
from tests.tiny import flat_part, grey, part, tiny_spec, white

INSPECTIONS = 300 if REHEARSAL else 10_000
FLAT_BYTES = 8 << 20
MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")


def backend_of(engine: Path, *, graph: bool = True) -> Any:
    """The TensorRT backend itself: it can do without a graph and show what the kernels made."""
    from ast_edge.backends.tensorrt import TensorRtBackend  # noqa: PLC0415 (imports TensorRT)

    return TensorRtBackend(read_engine_file(engine), graph=graph)


@pytest.fixture(params=[(1920, 1200), (641, 37), (30, 44)], ids=str)
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.mark.parametrize("colour", COLOURS)
def test_frames_are_prepared_as_by_the_reference(build: Build, colour: Colour, size: tuple[int, int]) -> None:
    engine = build("rgb", "fp32")
    spec = read_engine_file(engine).manifest
    frame = camera_frame(colour, *size, seed=3)
    with backend_of(engine) as backend:
        found = backend.prepare(Part.checked(spec, frame, colour))["image"][0]
    difference = np.abs(found.astype(int) - image_input(frame, colour, spec.preprocessing))
    assert difference.max() <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_depth_is_prepared_as_by_the_reference(build: Build, dtype: str) -> None:
    engine = build("depth", "fp32")
    spec = read_engine_file(engine).manifest
    rng = np.random.default_rng(0)
    for height, width in ((40, 48), (400, 400), (97, 31)):
        z = flat_part(height, width).astype(dtype) + rng.normal(0, 1e-3, (height, width)).astype(dtype)
        z[rng.random(z.shape) < 0.2] = 0
        with backend_of(engine) as backend:
            found = backend.prepare(Part.checked(spec, depth_m=z))
        expected = depth_input(z, spec.preprocessing)
        np.testing.assert_array_equal(found["foreground"][0], expected.foreground)
        np.testing.assert_allclose(found["depth"][0], expected.depth, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_verdicts_are_those_of_onnx_runtime(build: Build, mode: Mode) -> None:
    engine = build(mode, "fp32")
    with Inspector.open(engine) as gpu, Inspector.open(engine.with_suffix(".onnx")) as cpu:
        for good in (True, False):
            found, expected = (each.inspect(**part(mode, good=good)) for each in (gpu, cpu))
            assert found.verdict == expected.verdict == ("pass" if good else "reject")
            assert found.score == pytest.approx(expected.score, rel=1e-4)
            if expected.levels is not None:
                assert found.levels == pytest.approx(expected.levels, rel=1e-6)


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "plain"])
def test_a_depth_map_that_cannot_be_used_is_refused_and_the_next_one_judged(
    build: Build, graph: bool
) -> None:
    """What the kernels found out about the map comes back with the results, part after part."""
    good, empty = flat_part(), np.full_like(flat_part(), 0.5)
    broken = flat_part()
    broken[3, 3] = -1
    spec = tiny_spec("depth")
    with backend_of(build("depth", "fp32"), graph=graph) as backend:
        for _ in range(3):  # more than there are slots
            assert backend.submit(Part.checked(spec, depth_m=good)).result().part_seen
            with pytest.raises(FrameError, match="negative distance"):
                backend.submit(Part.checked(spec, depth_m=broken)).result()
            assert not backend.submit(Part.checked(spec, depth_m=empty)).result().part_seen


@pytest.mark.parametrize("mode", MODES)
def test_the_graph_gives_the_bits_of_plain_execution(build: Build, mode: Mode) -> None:
    checked = Part.checked(tiny_spec(mode), **part(mode, good=False))
    with backend_of(build(mode, "fp32")) as graph, backend_of(build(mode, "fp32"), graph=False) as plain:
        one, other = (backend.submit(checked).result() for backend in (graph, plain))
    assert one.score == other.score
    np.testing.assert_array_equal(one.anomaly_map, other.anomaly_map)
    assert one.levels == other.levels


@pytest.fixture
def inspector(build: Build) -> Iterator[Inspector]:
    with Inspector.open(build("rgb", "fp32")) as opened:
        yield opened


def test_many_threads_get_their_own_verdicts(inspector: Inspector) -> None:
    wrong: list[str] = []

    def inspect(good: bool) -> None:
        for _ in range(100):
            frame = grey() if good else white()
            future = inspector.inspect_async(frame, colour="rgb")
            frame[:] = 7
            if (verdict := future.result().verdict) != ("pass" if good else "reject"):
                wrong.append(verdict)

    threads = [threading.Thread(target=partial(inspect, index % 2 == 0)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_stays_flat_over_many_inspections(inspector: Inspector) -> None:
    frames = (grey(), white())
    for _ in range(100):
        inspector.inspect(frames[0], colour="rgb")
    before = gpu_bytes_free(inspector), resident_bytes()
    for index in range(INSPECTIONS):
        verdict = inspector.inspect(frames[index % 2], colour="rgb").verdict
        assert verdict == ("pass", "reject")[index % 2]
    after = gpu_bytes_free(inspector), resident_bytes()
    assert before[0] - after[0] <= FLAT_BYTES
    assert after[1] - before[1] <= FLAT_BYTES


def gpu_bytes_free(inspector: Inspector) -> int:
    backend: Any = inspector._backend
    found: int = backend._owner.call(free_memory)
    return found


def resident_bytes() -> int:
    """The most that was resident so far: it grows with a leak and never falls."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_opening_and_closing_gives_all_memory_back(build: Build) -> None:
    engine = build("rgbd", "fp32")
    with Inspector.open(engine) as outer:
        free = []
        for _ in range(5):
            with Inspector.open(engine) as inner:
                inner.inspect(**part("rgbd", good=True))
            free.append(gpu_bytes_free(outer))
    assert free[1] - free[-1] <= FLAT_BYTES  # the first one loads kernels that stay


def test_stages_are_timed_on_the_gpu(inspector: Inspector) -> None:
    stages = inspector.inspect(grey(), colour="rgb").stages_ms
    assert set(stages) == {"hand_off", "copy_in", "preprocess", "engine", "copy_out", "score", "verdict"}
    assert all(value >= 0 for value in stages.values())
    assert stages["engine"] > 0
