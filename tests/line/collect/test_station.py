"""A frame belongs to its trigger by the rules of `ast-edge run`: a scripted camera misses and freezes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_edge.cameras.base import Frame
from ast_edge.frames.reading import read_image
from ast_edge.line.collect.collector import CameraView, Collector
from ast_edge.line.collect.parts import Parts
from ast_edge.line.collect.taker import Taker
from ast_edge.line.station.setup import Setup
from ast_edge.line.station.station import Station
from ast_edge.line.station.timing import Timing
from tests.line.collect.bench import check_whole
from tests.line.rig import BenchCamera
from tests.waiting import wait_for


class Bench:
    """A station that collects, its camera, and the part that lies before it."""

    def __init__(self, folder: Path, wanted: int | None = None, **timing: Any) -> None:
        self.camera = BenchCamera()
        self.camera.on_trigger = self.show
        self.folder, self.before_the_camera = folder, 0
        self.parts = Parts(folder, min_free_gb=0)
        self.collector = Collector(self.parts, CameraView("bench://", dict), wanted)
        self.station = Station(
            Setup(
                name="bench",
                run="run",
                camera=self.camera,
                recipes=Taker(lambda: None),
                outputs=[self.collector],
                software_trigger=True,
                timing=Timing(**{"deadline_ms": 5000.0, "delay_ms": 0.0, **timing}),
            )
        )

    def show(self) -> None:
        """The camera sees the part: its number as a grey level, and noise."""
        noise = self.camera.rng.integers(0, 2, (40, 48, 3), dtype=np.uint8)
        self.give(noise + np.uint8(100 + self.before_the_camera))

    def give(self, pixels: Any) -> None:
        now = time.monotonic_ns()
        self.camera.frames.put(Frame(pixels, "rgb", self.camera.number, None, now, "bench"))
        self.camera.number += 1

    def pass_part(self, number: int) -> None:
        """Part `number` comes, and is decided."""
        self.before_the_camera = number
        self.station.trigger(external_id=f"E{number}")
        wait_for(lambda: self.station.balance().open == 0)

    def stop(self) -> None:
        self.station.stop()
        self.collector.finish()
        self.parts.close()


@contextmanager
def bench(folder: Path, wanted: int | None = None, **timing: Any) -> Iterator[Bench]:
    made = Bench(folder, wanted, **timing)
    made.station.start()
    try:
        yield made
    finally:
        made.stop()


def shown(folder: Path) -> dict[str, int]:
    """Which part each picture shows, by the name that its trigger had."""
    return {
        str(part.trigger.external_id): round(float(read_image(folder / part.picture).mean()) - 100.5)
        for part in check_whole(folder)
    }


def test_every_picture_shows_the_part_of_its_trigger(tmp_path: Path) -> None:
    with bench(tmp_path, deadline_ms=300.0) as made:
        for number in range(1, 13):
            made.camera.on_trigger = made.show if number % 4 else lambda: None  # the fourth gives none
            made.pass_part(number)
            if not number % 4:
                made.show()  # too late: it shows a part that is gone
    assert shown(tmp_path) == {f"E{number}": number for number in range(1, 13) if number % 4}
    assert made.collector.missed.total() == 3
    assert all("300 ms" in why or "no frame arrived in time" in why for why in made.collector.missed)


def test_a_missed_trigger_is_counted_and_said_once_for_each_reason(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.pass_part(1)
        for number in range(2, 5):
            made.station.missed(1, "counter", [f"E{number}"], f"seen up to {number}00 ms after it arrived")
        made.station.missed(1, "counter")
        made.pass_part(6)
    assert list(shown(tmp_path)) == ["E1", "E6"]
    assert made.collector.missed == {
        "seen up to 200 ms after it arrived": 3,
        "the trigger was lost in transit": 1,
    }
    said = [one for one in made.collector.news if one.startswith("no picture")]
    assert len(said) == 2
    assert said[0] == ("no picture of a part (trigger 2, counter): seen up to 200 ms after it arrived")


def test_a_frozen_camera_gives_no_second_picture(tmp_path: Path) -> None:
    still = np.full((40, 48, 3), 90, np.uint8)
    with bench(tmp_path) as made:
        made.camera.on_trigger = lambda: made.give(still)
        for number in range(1, 4):
            made.pass_part(number)
    assert len(check_whole(tmp_path)) == 1
    assert made.collector.missed == {"the frame equals the one before: is the camera frozen?": 2}


@pytest.mark.parametrize(
    ("pixels", "depth", "words"),
    [
        (None, np.ones((40, 48), np.float32), "gives depth maps without pictures"),
        (np.zeros((40, 48), np.uint8), None, "must have the shape"),
        (np.zeros((40, 48, 3), np.uint16), None, "must be a NumPy array of uint8"),
        (np.zeros((40, 48, 3), np.uint8), np.ones((20, 24), np.float32), "register the depth map"),
    ],
)
def test_a_frame_that_train_could_not_read_is_missed(
    tmp_path: Path, pixels: Any, depth: Any, words: str
) -> None:
    def give() -> None:
        colour = None if pixels is None else "rgb"
        made.camera.frames.put(Frame(pixels, colour, 0, None, time.monotonic_ns(), "", depth))  # type: ignore[arg-type]

    with bench(tmp_path) as made:
        made.camera.on_trigger = give
        made.pass_part(1)
    assert not check_whole(tmp_path)
    ((why, count),) = made.collector.missed.items()
    assert words in why
    assert count == 1


def test_no_more_than_wanted(tmp_path: Path) -> None:
    with bench(tmp_path, 3) as made:
        for number in range(1, 8):
            made.pass_part(number)
        wait_for(lambda: made.collector.done)
    assert shown(tmp_path) == {"E1": 1, "E2": 2, "E3": 3}
    assert not made.collector.missed


def test_a_disk_that_refuses_ends_it_with_its_words(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.pass_part(1)
        wait_for(lambda: made.collector.written == 1)
        (tmp_path / "train/good").rename(tmp_path / "away")
        (tmp_path / "train/good").write_bytes(b"in the way")
        made.pass_part(2)
        wait_for(lambda: made.collector.done)
        made.pass_part(3)
    assert "what was collected is kept, 1 part: " in str(made.collector.error)
    assert "train/good" in str(made.collector.error)
