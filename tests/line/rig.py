"""A station under test: scripted camera and engine, and an output that records its results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any

import numpy as np

from ast_edge.backends.base import Outputs
from ast_edge.backends.fake import FakeBackend
from ast_edge.cameras.base import Camera, Frame, NoFrame, State
from ast_edge.errors import CameraError
from ast_edge.inspector import Inspector
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.station.recipes import Recipe, Recipes
from ast_edge.line.station.setup import Setup, Triggering
from ast_edge.line.station.station import Station
from ast_edge.line.station.timing import Timing
from ast_edge.line.status import StationView
from ast_edge.model.arrays import Array
from tests.tiny import MAP_SIZE, tiny_spec

Answer = Callable[[Mapping[str, Array]], Outputs]


class BenchCamera(Camera):
    """Gives the frames that the test puts into it; `on_trigger` is what a software trigger does."""

    def __init__(self) -> None:
        self.uri = "bench://"
        self.frames: Queue[Frame | NoFrame | CameraError] = Queue()
        self.number = 0
        self.rng = np.random.default_rng(0)
        self.on_trigger: Callable[[], int | None] = self.show
        self.closed = False

    def show(self, *, bad: bool = False, lost: int = 0, host_ns: int | None = None) -> None:
        """A frame arrives, after `lost` that did not."""
        self.number += lost
        pixels = np.full((40, 48, 3), 255 if bad else 128, np.uint8)
        pixels[0, :, 0] = self.rng.integers(0, 256, 48)  # a camera's noise: no two frames are equal
        at = time.monotonic_ns() if host_ns is None else host_ns
        self.frames.put(Frame(pixels, "rgb", self.number, None, at, f"frame {self.number}"))
        self.number += 1

    def read(self, timeout_s: float) -> Frame | NoFrame:
        try:
            found = self.frames.get(timeout=timeout_s)
        except Empty:
            return NoFrame.TIMEOUT
        if isinstance(found, CameraError):
            raise found
        return found

    def trigger(self) -> int | None:
        return self.on_trigger()

    @property
    def state(self) -> State:
        return "live"

    @property
    def counters(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        self.closed = True


class Remembering(Output):
    """Keeps every result; may be slow or raise in `put`, as no output should."""

    name = "remembering"

    def __init__(self, spoil: Callable[[], None] = lambda: None) -> None:
        self.results: list[PartResult] = []
        self.spoil = spoil
        self.closed = False

    def start(self, station: StationView) -> None:
        self.station = station

    def put(self, result: PartResult) -> None:
        self.results.append(result)
        self.spoil()

    @property
    def status(self) -> OutputStatus:
        return OutputStatus(connected=True, delivered=len(self.results))

    def close(self, timeout_s: float) -> None:  # noqa: ARG002 (there is nothing to wait for)
        self.closed = True


def by_brightness(inputs: Mapping[str, Array]) -> Outputs:
    """Half the mean grey level as the score: 128 passes, 255 is rejected."""
    score = (inputs["image"].mean() > 200) * 0.5 + 0.01
    grid = np.full((1, MAP_SIZE, MAP_SIZE), score, np.float32)
    return Outputs(np.array([score], np.float32), grid)


def recipe(name: str = "first", answer: Answer = by_brightness) -> Recipe:
    spec = tiny_spec()
    return Recipe(name, Inspector(spec, FakeBackend(spec, answer)))


class Rig:
    """A running station and its pieces."""

    def __init__(self, station: Station, camera: BenchCamera, outputs: list[Remembering]) -> None:
        self.station, self.camera, self.outputs = station, camera, outputs

    @property
    def results(self) -> list[PartResult]:
        return self.outputs[0].results

    @property
    def verdicts(self) -> list[str]:
        """In the order of the parts, which is not that of their results."""
        return [result.verdict for result in sorted(self.results, key=lambda result: result.number)]

    def settle(self, count: int, within_s: float = 20.0) -> list[PartResult]:
        """Wait until so many results are there."""
        end = time.monotonic() + within_s
        while len(self.results) < count and time.monotonic() < end:
            time.sleep(0.002)
        assert len(self.results) >= count, f"{len(self.results)} of {count} results"
        return self.results


@contextmanager
def rig(
    answer: Answer = by_brightness,
    *,
    triggering: Triggering = "external",
    software_trigger: bool = False,
    one_frame_each: bool = False,
    outputs: int = 1,
    recipes: Recipes | None = None,
    **timing: Any,
) -> Iterator[Rig]:
    """A station that runs during the block; its balance is checked at the end."""
    camera, kept = BenchCamera(), [Remembering() for _ in range(outputs)]
    own = recipes or Recipes({}, recipe(answer=answer), lambda *_: None)
    limits = Timing(**{"deadline_ms": 2000.0, "drain_s": 5.0, "delay_ms": 0.0, **timing})
    station = Station(
        Setup(
            name="bench",
            run="run",
            camera=camera,
            recipes=own,
            outputs=kept,
            triggering=triggering,
            software_trigger=software_trigger,
            timing=limits,
            one_frame_each=one_frame_each,
        )
    )
    station.start()
    before = threading.active_count()
    try:
        yield Rig(station, camera, kept)
    finally:
        balance = station.stop()
    assert balance.balanced
    assert balance.open == 0
    for output in kept:
        assert sorted(result.number for result in output.results) == list(range(1, balance.triggers + 1))
        assert output.closed
    assert camera.closed
    assert threading.active_count() <= before
