"""Picture and grey levels by the kernels against the NumPy reference, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ast_edge.cuda.plan import FrameLayout, Plan, plan_image
from ast_edge.errors import FrameError
from ast_edge.frames.levels import Counts, grey_levels, levels_from_sums
from ast_edge.frames.pixel_formats import COLOURS, Colour, frame_size
from ast_edge.frames.preprocess import image_input
from ast_edge.model.manifest import Crop, Preprocessing
from ast_edge.model.roi import Roi
from tests.cuda.host import Host
from tests.frames.test_pixel_formats import camera_frame

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90))  # width, height, output size
MAX_SHARED_BYTES = 48 * 1024


@st.composite
def crops(draw: st.DrawFn, width: int, height: int) -> Crop | None:
    """Any rectangle of the frame, or None."""
    if draw(st.booleans()):
        return None
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Crop(x=x, y=y, width=draw(st.integers(1, width - x)), height=draw(st.integers(1, height - y)))


def at_pitch(frame: NDArray[np.uint8], layout: FrameLayout) -> NDArray[np.uint8]:
    """The frame's bytes with garbage behind every row."""
    rows = frame.reshape(len(frame), -1)
    memory = np.full((len(frame), layout.pitch), 0xEE, np.uint8)
    memory[:, : rows.shape[1]] = rows
    return memory


def check_against_reference(
    host: Host, frame: NDArray[np.uint8], colour: Colour, spec: Preprocessing, *, gap: int, threads: int
) -> None:
    packed = FrameLayout.packed(colour, *frame_size(frame, colour))
    layout = FrameLayout(colour, packed.width, packed.height, packed.pitch + gap)
    plan = plan_image(layout, spec)
    outputs = host.run(plan, {"frame": at_pitch(frame, layout)}, threads=threads)
    expected = image_input(frame, colour, spec)
    np.testing.assert_array_equal(outputs["image"].reshape(expected.shape), expected)
    assert outputs["status"].view(np.int32) == [0]
    sums, counts = outputs["levels"].view(np.uint64), Counts.of(spec.image_size, spec.looked_at)
    assert levels_from_sums(sums, counts) == grey_levels(expected, spec.looked_at)
    assert all(launch.shared_bytes <= MAX_SHARED_BYTES for launch in plan.launches)


@pytest.mark.slow
@pytest.mark.parametrize("colour", COLOURS)
@settings(max_examples=300)
@given(data=st.data(), shape=SHAPES, gap=st.integers(0, 9), seed=SEEDS)
def test_image_and_levels_equal_the_reference(
    host: Host, colour: Colour, data: st.DataObject, shape: tuple[int, int, int], gap: int, seed: int
) -> None:
    width, height, size = shape
    frame = camera_frame(colour, width, height, seed)
    spec = Preprocessing(image_size=size, map_size=1, crop=data.draw(crops(*frame_size(frame, colour))))
    check_against_reference(host, frame, colour, spec, gap=gap, threads=1)


@pytest.mark.parametrize("threads", [2, 3, 7])
@settings(max_examples=8)
@given(colour=st.sampled_from(COLOURS), shape=SHAPES, seed=SEEDS)
def test_threads_of_a_block_work_together(
    host: Host, threads: int, colour: Colour, shape: tuple[int, int, int], seed: int
) -> None:
    width, height, size = shape
    spec = Preprocessing(image_size=size, map_size=1)
    frame = camera_frame(colour, width, height, seed)
    check_against_reference(host, frame, colour, spec, gap=0, threads=threads)


@pytest.mark.parametrize("threads", [1, 3])
@settings(max_examples=30)
@given(size=st.integers(1, 300), share=st.floats(0.05, 1.0), seed=SEEDS)
def test_levels_of_the_pixels_looked_at_equal_the_reference(
    host: Host, threads: int, size: int, share: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((size, size)) < share
    mask[0, 0] = True
    spec = Preprocessing(image_size=size, map_size=1, roi=Roi.of(mask, (0, 0, 0)))
    check_against_reference(host, camera_frame("rgb", 31, 17, seed), "rgb", spec, gap=0, threads=threads)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (800, 600, 384),
        (200, 150, 384),
        (1, 1, 300),
        (20_000, 3, 1),  # a window of 20000 pixels, more than a block decodes at once
        (9_001, 2, 2),
        (30_000, 2, 260),  # three tiles of outputs, each of several chunks
        (2, 20_000, 1),
    ],
)
@pytest.mark.parametrize("colour", ["rgb", "bayer_grbg", "nv12"])
def test_large_frames_equal_the_reference(
    host: Host, colour: Colour, width: int, height: int, size: int
) -> None:
    spec = Preprocessing(image_size=size, map_size=1)
    frame = camera_frame(colour, width, height, 0)
    for threads in (1, 2):
        check_against_reference(host, frame, colour, spec, gap=3, threads=threads)


@pytest.mark.parametrize("level", [0, 255])
def test_an_even_picture_stays_even(host: Host, level: int) -> None:
    spec = Preprocessing(image_size=37, map_size=1)
    for width in (3, 36, 37, 1000):
        frame = np.full((41, width), level, np.uint8)
        outputs = host.run(
            plan_image(FrameLayout.packed("mono", *frame_size(frame, "mono")), spec), {"frame": frame}
        )
        assert (outputs["image"] == level).all()


def test_levels_of_a_large_bright_picture_do_not_overflow(host: Host) -> None:
    frame = np.zeros((1100, 1100), np.uint8)
    frame[:, ::2] = 255  # the sum of squares and of differences is beyond 32 bits
    check_against_reference(host, frame, "mono", Preprocessing(image_size=1100, map_size=1), gap=0, threads=1)


@settings(max_examples=200)
@given(size=st.integers(1, 40), seed=SEEDS, spread=st.integers(1, 256))
def test_levels_from_sums_are_those_of_the_picture(size: int, seed: int, spread: int) -> None:
    image = np.random.default_rng(seed).integers(0, spread, (size, size, 3), dtype=np.uint8)
    grey = image.astype(np.int64).sum(axis=2)
    squares = [int((d**2).sum()) for d in (grey, np.diff(grey, axis=0), np.diff(grey, axis=1))]
    sums = np.array([int(grey.sum()), *squares], np.uint64)
    np.testing.assert_allclose(
        levels_from_sums(sums, Counts.of(size)), grey_levels(image), rtol=1e-9, atol=1e-6
    )


def test_a_frame_of_another_size_than_the_crop_is_refused() -> None:
    spec = Preprocessing(image_size=8, map_size=1, crop=Crop(x=0, y=0, width=8, height=9))
    with pytest.raises(FrameError, match="frame is 8x8 pixels, too small"):
        plan_image(FrameLayout("mono", 8, 8, 8), spec)


@pytest.mark.parametrize(("colour", "pitch"), [("rgb", 23), ("yuyv", 15), ("nv12", 7), ("mono", 7)])
def test_a_pitch_shorter_than_a_row_is_refused(colour: Colour, pitch: int) -> None:
    assert FrameLayout(colour, 8, 8, pitch + 1).pitch == pitch + 1
    with pytest.raises(FrameError, match=f"8 pixels .* {colour} takes {pitch + 1} bytes"):
        FrameLayout(colour, 8, 8, pitch)


def test_layouts_count_the_bytes_of_their_frames() -> None:
    for colour in COLOURS:
        frame = camera_frame(colour, 14, 10, 0)
        layout = FrameLayout.packed(colour, *frame_size(frame, colour))
        assert (layout.width, layout.height) == frame_size(frame, colour)
        assert layout.nbytes == frame.nbytes
        assert layout.pitch == frame[0].nbytes


def test_launches_name_only_buffers_of_the_plan() -> None:
    plan = plan_image(FrameLayout("rgb", 8, 8, 24), Preprocessing(image_size=8, map_size=1))
    assert names_in(plan) == {*plan.inputs, *plan.outputs, *plan.constants, *plan.workspace}


def names_in(plan: Plan) -> set[str]:
    return {value for launch in plan.launches for value in launch.arguments if isinstance(value, str)}
