"""Doubts about pictures: generated parts, spoilt as a camera spoils them, and none about good ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ast_edge.cameras.base import Frame
from ast_edge.line.collect.doubts import Doubts
from ast_edge.line.collect.parts import Parts
from tests.line.collect.bench import Pixels, scene
from tests.line.parts import part_result

SIZE = 128
GOOD = 12


class Desk:
    """Adds pictures to a collection; `said` are the sentences."""

    def __init__(self, folder: Path) -> None:
        self.parts = Parts(folder, min_free_gb=0)
        self.doubts = Doubts()
        self.said: list[str] = []
        self._number = 0

    def add(self, picture: Pixels, **settings: float | str) -> list[str]:
        """Return what is said about this picture."""
        self._number += 1
        frame = Frame(np.ascontiguousarray(picture), "rgb", self._number, None, 0, "bench")
        result = replace(part_result(self._number), frame=frame)
        said = self.doubts.add(*self.parts.add(result, "bench://", settings))
        self.said += said
        return said

    def counts(self) -> dict[str, int]:
        return {kind: len(numbers) for kind, numbers in self.doubts.parts.items() if numbers}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "parts")
    for number in range(GOOD):
        made.add(scene(number, SIZE))
    assert made.said == []
    yield made
    made.parts.close()


def exposed(picture: Pixels, factor: float) -> Pixels:
    return np.asarray(np.clip(np.rint(picture * factor), 0, 255), np.uint8)


def noisy(picture: Pixels, seed: int) -> Pixels:
    """Another picture of the same part: a camera's noise differs."""
    noise = np.random.default_rng(seed).normal(0, 2, picture.shape)
    return np.asarray(np.clip(np.rint(picture + noise), 0, 255), np.uint8)


def test_good_parts_raise_no_doubt(desk: Desk) -> None:
    for number in range(GOOD, 40):
        desk.add(scene(number, SIZE))
    assert desk.counts() == {}


def test_blur_is_said_once_and_counted(desk: Desk) -> None:
    for number in range(3):
        blurred = cv2.GaussianBlur(scene(100 + number, SIZE), (0, 0), 1.0)
        desk.add(np.asarray(blurred, np.uint8))
    assert desk.counts() == {"blur": 3}
    (said,) = desk.said
    assert said.startswith("train/good/000013.png: its sharpness is ")
    assert "is it blurred?" in said
    assert desk.doubts.summary() == [("blur", "3 parts: 13, 14, 15")]


def test_saturation(desk: Desk) -> None:
    shiny = scene(100, SIZE).copy()
    cv2.circle(shiny, (64, 64), 15, (255, 255, 255), -1)
    said = desk.add(shiny)
    assert any("of its pixels are white" in one for one in said)
    assert desk.counts()["saturation"] == 1


def test_the_same_pixels_and_the_same_part_again(desk: Desk) -> None:
    assert "has the same pixels as train/good/000003.png" in desk.add(scene(2, SIZE))[0]
    desk.add(noisy(scene(5, SIZE), 1))
    assert desk.doubts.parts["duplicate"] == [13, 14]
    fresh = Doubts()
    desk.doubts = fresh
    desk.add(noisy(scene(6, SIZE), 1))
    assert "looks like train/good/000015.png" in desk.add(noisy(scene(6, SIZE), 2))[0]


def test_the_pixels_of_an_earlier_run_are_known(desk: Desk, tmp_path: Path) -> None:
    desk.parts.close()
    parts = Parts(tmp_path / "parts", "bent", min_free_gb=0)
    later = Doubts()
    for part in parts.present:
        later.add_earlier(part)
    frame = Frame(scene(4, SIZE), "rgb", 1, None, 0, "bench")
    result = replace(part_result(1), frame=frame)
    (said,) = later.add(*parts.add(result, "bench://", {}))
    assert said.startswith("test/bent/000013.png: has the same pixels as train/good/000005.png")
    parts.close()


def test_one_picture_of_another_brightness(desk: Desk) -> None:
    assert "its brightness is " in desk.add(exposed(scene(100, SIZE), 0.7))[0]
    assert desk.counts() == {"exposure": 1}


def test_exposure_that_drifts_slowly(desk: Desk) -> None:
    for step in range(40):
        desk.add(exposed(scene(100 + step, SIZE), 1 - min(step, 20) / 100))
    assert desk.doubts.parts["exposure"], "a fifth darker in the end"
    assert desk.said[0].count("the brightness went from ") == 1
    assert len(desk.said) == len(desk.counts())


def test_settings_that_the_camera_reports(desk: Desk) -> None:
    desk.add(scene(100, SIZE), exposure_us=800.0, exposure_auto="Off")
    assert desk.said == []
    assert "exposure_us went from 800.0 to 900.0" in desk.add(scene(101, SIZE), exposure_us=900.0)[0]
    desk.add(scene(102, SIZE), exposure_us=900.0, gain_auto="Continuous")
    assert desk.doubts.parts["exposure"] == [14, 15]
    again = Doubts()
    desk.doubts = again
    assert (
        "the camera sets its exposure and gain itself"
        in (desk.add(scene(103, SIZE), exposure_auto="continuous", gain_auto="once")[0])
    )


def test_another_size(desk: Desk) -> None:
    assert "is 64x64 pixels, the part before 128x128" in "".join(desk.add(scene(100, 64)))
