"""A part is checked once; later steps rely on it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from ast_edge.backends.base import Outputs
from ast_edge.backends.fake import FakeBackend
from ast_edge.errors import FrameError
from ast_edge.frames.depth import depth_input
from ast_edge.frames.part import Part
from ast_edge.frames.preprocess import image_input
from ast_edge.inspector import Inspector
from ast_edge.model.manifest import Mode
from tests.tiny import flat_part, grey, part, tiny_spec, white

MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")


@pytest.mark.parametrize("mode", MODES)
def test_the_inputs_are_those_of_the_reference(mode: Mode) -> None:
    spec = tiny_spec(mode)
    given = part(mode, good=False)
    checked = Part.checked(spec, **given)
    assert (checked.width, checked.height) == (48, 40)
    inputs = checked.inputs(spec.preprocessing)
    assert {name: array.shape for name, array in inputs.items()} == {
        tensor.name: tensor.shape for tensor in spec.input_specs()
    }
    if mode != "depth":
        expected = image_input(given["frame"], given["colour"], spec.preprocessing)
        np.testing.assert_array_equal(inputs["image"][0], expected)
    if mode != "rgb":
        depth = depth_input(given["depth_m"], spec.preprocessing)
        np.testing.assert_array_equal(inputs["depth"][0], depth.depth)
        np.testing.assert_array_equal(inputs["foreground"][0], depth.foreground)


def test_the_size_is_that_of_the_picture_and_not_of_the_bytes() -> None:
    checked = Part.checked(tiny_spec(), np.zeros((30, 16), np.uint8), "nv12")
    assert (checked.width, checked.height) == (16, 20)


def test_a_part_cannot_be_changed_and_a_copy_has_its_own_memory() -> None:
    frame, depth_m = grey(), flat_part()
    checked = Part.checked(tiny_spec("rgbd"), frame, "bgr", depth_m)
    with pytest.raises(FrozenInstanceError):
        checked.width = 7  # type: ignore[misc]
    copy = checked.copy()
    frame[:], depth_m[:] = 0, 0
    assert copy.frame is not None
    assert copy.depth_m is not None
    np.testing.assert_array_equal(copy.frame, grey())
    np.testing.assert_array_equal(copy.depth_m, flat_part())


@pytest.mark.parametrize(
    ("mode", "change", "words"),
    [
        ("rgb", {"frame": None}, "needs `frame`"),
        ("rgb", {"depth_m": flat_part()}, "does not use `depth_m`"),
        ("depth", {"colour": "rgb"}, "does not use `colour`"),
        ("rgbd", {"depth_m": flat_part(48, 40)}, r"\[40, 48\] and \[48, 40\] \(height, width\)"),
        ("rgbd", {"depth_m": np.zeros((40, 48), np.uint16)}, "float32 or float64 in metres, found uint16"),
        ("rgb", {"frame": grey().astype(np.float32)}, "uint8, found float32"),
    ],
)
def test_what_cannot_be_a_part_of_the_model_is_refused(
    mode: Mode, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(FrameError, match=words):
        Part.checked(tiny_spec(mode), **{**part(mode, good=True), **change})


def test_a_frame_may_be_overwritten_once_it_was_handed_over() -> None:
    spec = tiny_spec()

    def answer(inputs: Any) -> Outputs:
        return Outputs(inputs["image"].mean(dtype=np.float32).reshape(1), np.zeros((1, 4, 4), np.float32))

    with Inspector(spec, FakeBackend(spec, answer)) as inspector:
        frames = [white() for _ in range(4)]
        futures = []
        for frame in frames:
            futures.append(inspector.inspect_async(frame, colour="rgb"))
            frame[:] = 7
        assert [future.result(20).score for future in futures] == [255] * 4
