"""Depth maps against SciPy and torch, and their properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ast_edge.errors import FrameError, UsageError
from ast_edge.frames.depth import UNSHUFFLE, depth_input
from ast_edge.frames.reading import read_xyz
from ast_edge.model.manifest import Crop, DepthPreprocessing, Preprocessing
from tests.real_data import cable_gland

Depth = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
RGB = Preprocessing(image_size=32, map_size=4)
DEPTH = Preprocessing(image_size=32, map_size=4, depth=DepthPreprocessing())
FRACTIONAL = Preprocessing(image_size=32, map_size=4, depth=DepthPreprocessing(mask="fractional"))


def plane_with_part(height: int = 48, width: int = 40, *, distance_m: float = 0.5) -> Depth:
    """A slightly tilted plane with a block standing 20 mm above it."""
    z: Depth = distance_m + 0.002 * np.linspace(0, 1, height)[:, None] + 0.001 * np.linspace(0, 1, width)
    z[height // 4 : height // 2, width // 4 : width // 2] -= 0.02
    return z


def filled_by_scipy(z: Depth) -> Depth:
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is not installed")
    ones = np.ones((3, 3))
    for _ in range(3):
        total = ndimage.convolve(z, ones, mode="constant")
        count = ndimage.convolve((z > 0).astype(float), ones, mode="constant")
        z = np.where((z == 0) & (count > 0), total / np.maximum(count, 1), z)
    return z


def corners_one_by_one(z: Depth) -> Depth:
    patches = [[z[:2, :2], z[:2, -2:]], [z[-2:, :2], z[-2:, -2:]]]
    return np.array([[patch[patch > 0].mean() for patch in row] for row in patches])


def by_torch(z: Depth, grid: int) -> tuple[Depth, Depth]:
    """The same method put together from SciPy and torch: depth [8h,8h] and the fractional mask [h,h]."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    functional = torch.nn.functional

    def interpolate(image: Depth, *size: int, corners: bool = False) -> Any:
        tensor = torch.from_numpy(image)[None, None]
        return functional.interpolate(tensor, size, mode="bilinear", align_corners=corners)

    z = filled_by_scipy(z)
    background = interpolate(corners_one_by_one(z), *z.shape, corners=True)[0, 0].numpy()
    part = (np.abs(background - z) > 0.007) & (z != 0)
    size = UNSHUFFLE * grid
    depth = interpolate(np.where(part, 100 * (z - z[part].mean()), 0), size, size)
    mask = (interpolate(part.astype(float), size, size) > 0).double()
    dilated = functional.max_pool2d(functional.pad(mask, (3, 4, 3, 4)), kernel_size=8, stride=1)
    return depth[0, 0].numpy(), interpolate(dilated[0, 0].numpy(), grid, grid)[0, 0].numpy()


@settings(max_examples=40, deadline=None)
@given(height=st.integers(32, 90), width=st.integers(32, 90), seed=SEEDS)
def test_depth_agrees_with_scipy_and_torch(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = plane_with_part(height, width) + rng.normal(0, 1e-4, (height, width))
    z[rng.random(z.shape) < 0.3] = 0
    z[[0, 0, -1, -1], [0, -1, 0, -1]] = 0.5
    ours, (depth, weights) = depth_input(z, FRACTIONAL), by_torch(z, 4)
    assert ours.depth.dtype == ours.foreground.dtype == np.float32
    np.testing.assert_allclose(ours.depth[0], depth, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours.foreground[0], weights)
    np.testing.assert_array_equal(depth_input(z, DEPTH).foreground[0], weights > 0)


@pytest.mark.data
@pytest.mark.parametrize(
    "part", ["train/good/xyz/000.tiff", "test/cut/xyz/003.tiff", "test/bent/xyz/011.tiff"]
)
def test_real_depth_agrees_with_scipy_and_torch(part: str) -> None:
    z = read_xyz(cable_gland() / part).astype(np.float64)
    ours, (depth, weights) = depth_input(z, FRACTIONAL.model_copy(update={"map_size": 24})), by_torch(z, 24)
    np.testing.assert_allclose(ours.depth[0], depth, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours.foreground[0], weights)
    assert 0.05 < ours.foreground.mean() < 0.5


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, density=st.floats(0.0005, 0.3))
def test_mask_is_an_8x8_dilation_as_scipy_aligns_it(seed: int, density: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is not installed")
    part = np.random.default_rng(seed).random((64, 64)) < density
    part[:2, :2] = part[:2, -2:] = part[-2:, :2] = part[-2:, -2:] = False
    spec = FRACTIONAL.model_copy(update={"map_size": 8})  # 64 pixels: nothing is resized on the way
    result = depth_input(np.where(part, 0.48, 0.5), spec)
    dilated = ndimage.binary_dilation(part, np.ones((8, 8))).astype(float)
    middle = (dilated[3::8] + dilated[4::8]) / 2
    np.testing.assert_array_equal(result.foreground[0], (middle[:, 3::8] + middle[:, 4::8]) / 2)
    assert result.empty == (not part.any())


def test_depth_is_in_centimetres_about_the_mean_of_the_part() -> None:
    z = np.full((32, 32), 0.5)
    z[8:16, 8:16], z[16:24, 8:16] = 0.47, 0.49
    depth = depth_input(z, DEPTH).depth[0]
    np.testing.assert_allclose(depth[8:16, 8:16], -1.0, atol=1e-5)
    np.testing.assert_allclose(depth[16:24, 8:16], 1.0, atol=1e-5)
    assert (depth[:, 16:] == 0).all()


@given(shift_m=st.floats(-0.3, 20.0))
def test_the_distance_of_the_camera_does_not_matter(shift_m: float) -> None:
    near, far = plane_with_part(), plane_with_part() + shift_m
    np.testing.assert_allclose(depth_input(near, DEPTH).depth, depth_input(far, DEPTH).depth, atol=1e-5)
    np.testing.assert_array_equal(depth_input(near, DEPTH).foreground, depth_input(far, DEPTH).foreground)


@settings(deadline=None)
@given(seed=SEEDS, unmeasured=st.floats(0, 0.97), height=st.integers(2, 40), width=st.integers(2, 40))
def test_whatever_is_measured_the_inputs_are_finite(
    seed: int, unmeasured: float, height: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    z = np.where(rng.random((height, width)) < unmeasured, 0, rng.uniform(0.3, 0.6, (height, width)))
    before = z.copy()
    try:
        result = depth_input(z, FRACTIONAL)
    except FrameError as exc:
        assert "background cannot be found" in str(exc)  # noqa: PT017  the only refusal that is right here
        return
    np.testing.assert_array_equal(z, before)
    assert result.depth.shape == (1, 32, 32)
    assert result.foreground.shape == (1, 4, 4)
    assert np.isfinite(result.depth).all()
    assert set(np.unique(result.foreground)) <= {0, 0.25, 0.5, 0.75, 1}


def test_gaps_are_filled_in_the_first_row_and_column_too() -> None:
    z = plane_with_part()
    whole = depth_input(z, DEPTH)
    z[0, 5:30] = z[5:30, 0] = 0
    pierced = depth_input(z, DEPTH)
    np.testing.assert_array_equal(pierced.foreground, whole.foreground)
    np.testing.assert_allclose(pierced.depth, whole.depth, atol=1e-4)


def test_three_passes_fill_three_pixels_deep_and_not_four() -> None:
    z = np.full((32, 32), 0.5)
    z[4:20, 4:20] = 0.48
    z[8:14, 8:14] = 0
    assert not depth_input(z, DEPTH).empty
    assert np.abs(depth_input(z, DEPTH).depth).max() < 1e-9
    z[8:15, 8:15] = 0  # the pixel in the middle is four away from the nearest measurement: background
    z[16, 16] = 0.47  # so that the mean is not the value of every pixel
    depth = depth_input(z, DEPTH).depth[0]
    assert depth[11, 11] == 0
    assert (depth[8:15, 8:15] != 0).sum() == 48


CORNERS = {"top left": (0, 0), "top right": (0, -1), "bottom left": (-1, 0), "bottom right": (-1, -1)}


def without_corners(z: Depth, *names: str, depth: int = 8) -> Depth:
    for name in names:
        row, column = CORNERS[name]
        rows = slice(0, depth) if row == 0 else slice(-depth, None)
        columns = slice(0, depth) if column == 0 else slice(-depth, None)
        z[rows, columns] = 0
    return z


@pytest.mark.parametrize("name", CORNERS)
def test_one_missing_corner_is_completed_by_the_plane_of_the_others(name: str) -> None:
    tilted = plane_with_part() + 0.03 * np.linspace(0, 1, 48)[:, None] + 0.02 * np.linspace(0, 1, 40)
    whole = depth_input(tilted, DEPTH)
    pierced = depth_input(without_corners(tilted.copy(), name), DEPTH)
    np.testing.assert_array_equal(pierced.foreground, whole.foreground)
    np.testing.assert_allclose(pierced.depth, whole.depth, atol=1e-5)


@pytest.mark.parametrize("present", CORNERS)
def test_three_missing_corners_are_completed_by_the_one_that_is_there(present: str) -> None:
    z = np.full((48, 40), 0.5)
    z[12:24, 10:20] = 0.48
    whole = depth_input(z, DEPTH)
    pierced = depth_input(without_corners(z.copy(), *(set(CORNERS) - {present})), DEPTH)
    np.testing.assert_array_equal(pierced.foreground, whole.foreground)
    np.testing.assert_allclose(pierced.depth, whole.depth, atol=1e-5)


def test_two_missing_corners_are_completed_by_the_mean_of_the_others() -> None:
    z = np.full((48, 40), 0.5)
    z[12:24, 10:20] = 0.48
    z[-8:, :8] = 0.504
    expected = z.copy()
    expected[:8] = 0.502
    expected = without_corners(expected, "bottom left", "bottom right")
    expected[-8:, :8], expected[-8:, -8:] = 0.504, 0.5
    pierced = depth_input(without_corners(z, "top left", "top right"), DEPTH)
    np.testing.assert_array_equal(pierced.foreground, depth_input(expected, DEPTH).foreground)


def test_without_any_corner_the_background_cannot_be_found() -> None:
    with pytest.raises(FrameError, match=r"background cannot be found.*move the camera or the crop"):
        depth_input(without_corners(plane_with_part(), *CORNERS), DEPTH)
    with pytest.raises(FrameError, match="background cannot be found"):
        depth_input(np.zeros((32, 32)), DEPTH)


def test_an_empty_belt_is_empty() -> None:
    result = depth_input(np.full((48, 40), 0.5), DEPTH)
    assert result.empty
    assert not result.depth.any()
    assert not depth_input(plane_with_part(), DEPTH).empty


def test_foreground_begins_at_the_height_that_is_set() -> None:
    z = np.full((32, 32), 0.5)
    z[8:24, 8:24] -= 0.005
    assert depth_input(z, DEPTH).empty
    lower = DEPTH.model_copy(update={"depth": DepthPreprocessing(foreground_min_m=0.004)})
    assert not depth_input(z, lower).empty


def test_depth_outside_the_crop_is_not_looked_at() -> None:
    spec = DEPTH.model_copy(update={"crop": Crop(x=10, y=5, width=40, height=48)})
    frame = np.full((60, 60), np.nan)
    frame[5:53, 10:50] = plane_with_part()
    result, expected = depth_input(frame, spec), depth_input(plane_with_part(), DEPTH)
    np.testing.assert_array_equal(result.depth, expected.depth)
    np.testing.assert_array_equal(result.foreground, expected.foreground)
    with pytest.raises(FrameError, match="depth map is 40x48 pixels, too small"):
        depth_input(plane_with_part(), spec)


def test_float32_and_float64_agree() -> None:
    z = plane_with_part().astype(np.float32)
    np.testing.assert_array_equal(depth_input(z, DEPTH).depth, depth_input(z.astype(np.float64), DEPTH).depth)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.ones((4, 4), np.uint16), "float32 or float64 in metres, found uint16"),
        (np.ones((4, 4), np.float16), "found float16"),
        ([[0.5]], "found list"),
        (None, "found NoneType"),
        (np.ones((4, 4, 3)), r"\[height,width\], found \[4, 4, 3\]"),
        (np.ones((1, 4)), "at least 2x2 pixels, found 4x1"),
        (np.ones((0, 4)), "at least 2x2 pixels, found 4x0"),
        (np.array([[0.5, np.nan], [0.5, 0.5]]), "set pixels without a measurement to 0"),
        (np.array([[0.5, np.inf], [0.5, 0.5]]), "NaN or infinity"),
        (np.array([[0.5, -0.1], [0.5, 0.5]]), "negative distance, -0.1 m"),
        (np.full((4, 4), 500.0), "500 m, expected at most 100 m; give it in metres"),
    ],
)
def test_depth_maps_of_another_kind_are_refused(z: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        depth_input(z, DEPTH)


def test_a_model_without_depth_takes_no_depth_map() -> None:
    with pytest.raises(UsageError, match="takes no depth map"):
        depth_input(plane_with_part(), RGB)
