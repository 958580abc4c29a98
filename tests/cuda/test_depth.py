"""Depth and foreground by the kernels against the NumPy reference, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ast_edge.cuda.plan import NO_PART, FrameLayout, Launch, check_status, plan_depth, plan_image, plan_inputs
from ast_edge.errors import FrameError, UsageError
from ast_edge.frames.depth import NO_CORNER, NOT_FINITE, depth_input, part_in_depth
from ast_edge.frames.pixel_formats import frame_size
from ast_edge.frames.preprocess import image_input
from ast_edge.model.manifest import Crop, DepthPreprocessing, MaskWeights, Preprocessing
from tests.cuda.host import Bytes, Host
from tests.frames.test_depth import plane_with_part

Depth = NDArray[np.float32] | NDArray[np.float64]
SIDES = st.integers(2, 90)
SPEC = Preprocessing(image_size=32, map_size=4, depth=DepthPreprocessing())
FAULTS = (np.nan, np.inf, -np.inf, -0.5, 100.5)


@st.composite
def specs(draw: st.DrawFn, width: int, height: int) -> Preprocessing:
    mask: MaskWeights = draw(st.sampled_from(("binary", "fractional")))
    crop = None
    if draw(st.booleans()):
        x, y = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
        crop = Crop(x=x, y=y, width=draw(st.integers(2, width - x)), height=draw(st.integers(2, height - y)))
    depth = DepthPreprocessing(foreground_min_m=draw(st.sampled_from((0.007, 0.0078125))), mask=mask)
    return Preprocessing(image_size=8, map_size=draw(st.integers(1, 12)), crop=crop, depth=depth)


@st.composite
def depth_maps(draw: st.DrawFn) -> Depth:
    """A bilinear surface; patches stand off it by about as much as makes a part, some of it unmeasured."""
    height, width = draw(SIDES), draw(SIDES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    down, right = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    corner = rng.uniform(0.4, 0.6, 4) if draw(st.booleans()) else np.full(4, 0.5)
    left_edge = (1 - down) * corner[0] + down * corner[2]
    z = (1 - right) * left_edge + right * ((1 - down) * corner[1] + down * corner[3])
    for _ in range(draw(st.integers(0, 8))):
        top, left = rng.integers(height), rng.integers(width)
        patch = (slice(top, top + rng.integers(1, 30)), slice(left, left + rng.integers(1, 30)))
        z[patch] += rng.choice([0.007, -0.007, 0.0078125, 0.02, -0.05])
    z[rng.random(z.shape) < draw(st.sampled_from((0.0, 0.02, 0.5, 0.97)))] = 0
    maps: tuple[Depth, Depth] = (z.astype(np.float32), z)
    return draw(st.sampled_from(maps))


def run_depth(host: Host, z_m: Depth, spec: Preprocessing, threads: int = 1) -> dict[str, Bytes]:
    plan = plan_depth(z_m.shape[0], z_m.shape[1], z_m.dtype, spec)
    assert all(launch.shared_bytes <= 48 * 1024 for launch in plan.launches)
    return host.run(plan, {"depth_m": z_m}, threads=threads)


def sentence_without_value(error: FrameError) -> str:
    return str(error).split(",")[0].split(" distance")[0].split(" reaches")[0].split(";")[0]


def refusal_of_reference(z_m: Depth, spec: Preprocessing) -> FrameError | None:
    try:
        depth_input(z_m, spec)
    except FrameError as refusal:
        return refusal
    return None


def check_against_reference(host: Host, z_m: Depth, spec: Preprocessing, threads: int = 1) -> str:
    """What was compared: `part`, `no part` or `refused`."""
    outputs = run_depth(host, z_m, spec, threads)
    status = int(outputs["status"].view(np.int32)[0])
    refusal = refusal_of_reference(z_m, spec)
    if refusal is not None:
        with pytest.raises(FrameError) as caught:
            check_status(status)
        assert sentence_without_value(caught.value) == sentence_without_value(refusal)
        return "refused"
    expected = depth_input(z_m, spec)
    assert check_status(status) == expected.empty
    cells = spec.map_size
    foreground = outputs["foreground"].view(np.float32).reshape(1, cells, cells)
    np.testing.assert_array_equal(foreground, expected.foreground)
    depth = outputs["depth"].view(np.float32).reshape(1, 8 * cells, 8 * cells)
    np.testing.assert_allclose(depth, expected.depth, rtol=0, atol=1e-5)
    return "no part" if expected.empty else "part"


@pytest.mark.slow
@settings(max_examples=400)
@given(data=st.data(), z_m=depth_maps())
def test_depth_and_foreground_equal_the_reference(host: Host, data: st.DataObject, z_m: Depth) -> None:
    event(check_against_reference(host, z_m, data.draw(specs(z_m.shape[1], z_m.shape[0]))))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 3, 7])
@settings(max_examples=6)
@given(data=st.data(), z_m=depth_maps())
def test_threads_of_a_block_work_together(host: Host, threads: int, data: st.DataObject, z_m: Depth) -> None:
    check_against_reference(host, z_m, data.draw(specs(z_m.shape[1], z_m.shape[0])), threads)


def near_the_threshold(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """A part of which every pixel stands off its background by 7 mm, give or take a rounding; a tenth of it
    unmeasured, to be filled from neighbours that stand off as far.
    """
    corners = rng.uniform(0.4, 0.6, (2, 2, 2, 2))  # corner's row and column, pixel's row and column
    (top_left, top_right), (bottom_left, bottom_right) = corners.mean(axis=(2, 3))
    down, right = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    left_edge = (1 - down) * top_left + down * bottom_left
    right_edge = (1 - down) * top_right + down * bottom_right
    z: NDArray[np.float64] = (1 - right) * left_edge + right * right_edge + rng.choice([-0.007, 0.007])
    z += rng.uniform(-2e-16, 2e-16, z.shape)
    z[rng.random(z.shape) < 0.1] = 0
    z[np.ix_([0, 1, -2, -1], [0, 1, -2, -1])] = corners.transpose(0, 2, 1, 3).reshape(4, 4)
    return z


@pytest.mark.parametrize("seed", range(20))
def test_rounding_decides_as_in_the_reference(host: Host, seed: int) -> None:
    """Any other order of operations shows: the kernels' part is the reference's, pixel for pixel."""
    rng = np.random.default_rng(seed)
    z_m = near_the_threshold(rng, *rng.integers(5, 90, 2))
    expected = part_in_depth(z_m, 0.007)
    assert 0.05 < expected.mean() < 0.95
    part = run_depth(host, z_m, SPEC)["depth_part"].reshape(z_m.shape)
    np.testing.assert_array_equal(part, expected)


@pytest.mark.slow
@settings(max_examples=200)
@given(data=st.data(), z_m=depth_maps())
def test_maps_that_cannot_be_used_are_refused_as_by_the_reference(
    host: Host, data: st.DataObject, z_m: Depth
) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        y, x = data.draw(st.integers(0, z_m.shape[0] - 1)), data.draw(st.integers(0, z_m.shape[1] - 1))
        z_m[y, x] = data.draw(st.sampled_from(FAULTS))
    event(check_against_reference(host, z_m, data.draw(specs(z_m.shape[1], z_m.shape[0]))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("height", "width"), [(400, 400), (2, 700), (700, 2), (480, 640)])
def test_large_maps_equal_the_reference(host: Host, height: int, width: int, dtype: type[Any]) -> None:
    z_m = plane_with_part(height, width).astype(dtype)
    z_m[np.random.default_rng(0).random(z_m.shape) < 0.3] = 0
    spec = SPEC.model_copy(update={"map_size": 24})
    assert check_against_reference(host, z_m, spec) == "part"


@pytest.mark.parametrize("missing", range(16))
def test_missing_corners_are_completed_as_by_the_reference(host: Host, missing: int) -> None:
    z_m = plane_with_part(40, 44) + np.random.default_rng(missing).uniform(0, 0.01, (40, 44))
    rows, columns = (slice(None, 6), slice(-6, None)), (slice(None, 6), slice(-6, None))
    for corner in range(4):
        if missing >> corner & 1:
            z_m[rows[corner // 2], columns[corner % 2]] = 0  # wider than gaps are filled
    kind = check_against_reference(host, z_m, SPEC)
    assert kind == ("refused" if missing == 0b1111 else "part")


def test_an_empty_plane_has_no_part(host: Host) -> None:
    outputs = run_depth(host, np.full((30, 30), 0.5), SPEC)
    assert outputs["status"].view(np.int32) == [NO_PART]
    assert not outputs["depth"].any()
    assert not outputs["foreground"].any()


def test_the_smallest_part_is_a_part(host: Host) -> None:
    z_m = np.full((32, 32), 0.5)
    z_m[0, 0] -= 0.0094  # pulls its own corner along, and stands off it by 7.05 mm
    spec = SPEC.model_copy(update={"depth": DepthPreprocessing(mask="fractional")})
    assert depth_input(z_m, spec).foreground.sum() == 0.25
    assert check_against_reference(host, z_m, spec) == "part"


def test_a_large_part_is_centred_on_its_mean(host: Host) -> None:
    z_m = plane_with_part(600, 500)
    z_m[5:-5, 5:-5] = np.random.default_rng(1).uniform(0.3, 0.45, (590, 490))
    assert check_against_reference(host, z_m, SPEC, threads=2) == "part"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (1 | 2 | 4 | 8, NOT_FINITE),
        (2 | 4 | 8, "The depth map holds a negative distance; distances must be measured from the camera."),
        (4 | 8 | NO_PART, "The depth map reaches more than 100 m, expected at most 100 m; give it in metres"),
        (8 | NO_PART, NO_CORNER),
    ],
)
def test_the_reference_order_decides_which_error_is_reported(status: int, sentence: str) -> None:
    with pytest.raises(FrameError) as caught:
        check_status(status)
    assert str(caught.value).startswith(sentence)


def test_a_status_without_errors_tells_whether_there_is_a_part() -> None:
    assert not check_status(0)
    assert check_status(NO_PART)


def rgbd_plan_inputs() -> tuple[NDArray[np.uint8], Depth, Preprocessing]:
    frame = np.random.default_rng(2).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    return (
        frame,
        plane_with_part(48, 40),
        SPEC.model_copy(update={"crop": Crop(x=2, y=1, width=36, height=45)}),
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_both_inputs_come_from_one_plan(host: Host, threads: int) -> None:
    frame, z_m, spec = rgbd_plan_inputs()
    layout = FrameLayout.packed("bgr", *frame_size(frame, "bgr"))
    plan = plan_inputs(layout, (48, 40, z_m.dtype), spec)
    outputs = host.run(plan, {"frame": frame, "depth_m": z_m}, threads=threads)
    assert set(plan.outputs) == {"image", "levels", "status", "depth", "foreground"}
    np.testing.assert_array_equal(outputs["image"].reshape(32, 32, 3), image_input(frame, "bgr", spec))
    expected = depth_input(z_m, spec)
    np.testing.assert_array_equal(outputs["foreground"].view(np.float32), expected.foreground.ravel())
    np.testing.assert_allclose(outputs["depth"].view(np.float32), expected.depth.ravel(), atol=1e-5)
    assert not check_status(int(outputs["status"].view(np.int32)[0]))


def clears_status(launch: Launch) -> bool:
    return launch.kernel == "ast_edge_set" and launch.arguments[0] == "status"


def test_a_plan_for_both_is_the_two_plans_with_one_clear_of_status() -> None:
    frame, z_m, spec = rgbd_plan_inputs()
    layout, depth = FrameLayout.packed("bgr", *frame_size(frame, "bgr")), (48, 40, z_m.dtype)
    both = plan_inputs(layout, depth, spec)
    alone = (plan_image(layout, spec), plan_depth(*depth, spec))
    assert [clears_status(launch) for launch in both.launches] == [True] + [False] * (len(both.launches) - 1)
    assert both.launches[1:] == alone[0].launches[1:] + alone[1].launches[1:]
    assert plan_inputs(layout, None, spec).launches == alone[0].launches
    assert plan_inputs(None, depth, spec).launches == alone[1].launches
    for part in ("constants", "workspace", "inputs"):
        assert len(getattr(both, part)) == sum(len(getattr(plan, part)) for plan in alone)
    named = {value for launch in both.launches for value in launch.arguments if isinstance(value, str)}
    assert named == {*both.inputs, *both.outputs, *both.constants, *both.workspace}


@pytest.mark.parametrize(
    ("height", "width", "dtype", "crop", "message"),
    [
        (8, 8, np.uint16, None, "float32 or float64 in metres, found uint16"),
        (1, 8, np.float32, None, "at least 2x2 pixels, found 8x1"),
        (8, 8, np.float32, Crop(x=0, y=0, width=9, height=8), "depth map is 8x8 pixels, too small"),
        (8, 8, np.float32, Crop(x=0, y=0, width=1, height=8), "at least 2x2 pixels, found 1x8"),
    ],
)
def test_maps_of_another_kind_are_refused(
    height: int, width: int, dtype: type[Any], crop: Crop | None, message: str
) -> None:
    spec = SPEC.model_copy(update={"crop": crop})
    for refuse in (
        lambda: plan_depth(height, width, np.dtype(dtype), spec),
        lambda: depth_input(np.ones((height, width), dtype), spec),
    ):
        with pytest.raises(FrameError, match=message):
            refuse()


def test_plans_without_anything_to_prepare_are_refused() -> None:
    with pytest.raises(UsageError, match="takes no depth map"):
        plan_depth(8, 8, np.dtype(np.float32), Preprocessing(image_size=8, map_size=1))
    with pytest.raises(UsageError, match="frame, a depth map or both"):
        plan_inputs(None, None, SPEC)
