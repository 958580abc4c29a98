"""A frame outside the good parts' range is a fault, whatever its score would be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter

from ast_edge import Inspector
from ast_edge.backends import open_backend
from ast_edge.frames.levels import grey_levels, span, why_unfit
from ast_edge.model.manifest import Range, TrainedRange
from tests.tiny import write_tiny_model

TRAINED = TrainedRange(
    width=Range(low=48, high=48),
    height=Range(low=40, high=40),
    brightness=Range(low=100, high=120),
    contrast=Range(low=20, high=30),
)


def _picture(brightness: float, contrast: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    half = np.full((32, 16, 3), brightness - contrast)
    return np.concatenate((half, half + 2 * contrast), axis=1).astype(np.uint8)


def test_grey_levels_are_mean_deviation_and_sharpness() -> None:
    # One step of 50 in every row of 31 differences.
    assert grey_levels(_picture(110, 25)) == pytest.approx((110, 25, 50 / 31**0.5))


@given(picture=st.integers(2, 9).flatmap(lambda size: hnp.arrays(np.uint8, (size, size, 3))))
def test_sharpness_is_the_root_mean_square_of_the_differences(picture: np.ndarray) -> None:
    grey = picture.astype(np.float64).mean(axis=2)
    squares = (np.diff(grey, axis=0) ** 2).mean() + (np.diff(grey, axis=1) ** 2).mean()
    assert grey_levels(picture).sharpness == pytest.approx(squares**0.5, rel=1e-5)


def test_blur_lowers_sharpness_and_noise_raises_it() -> None:
    picture = _picture(110, 25)
    noisy = picture + np.random.default_rng(0).integers(0, 9, picture.shape, dtype=np.uint8)
    blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))
    assert grey_levels(blurred).sharpness < grey_levels(picture).sharpness / 2
    assert grey_levels(noisy).sharpness > grey_levels(picture).sharpness


def test_span_is_from_smallest_to_largest() -> None:
    assert span([3.0, 1.0, 2.0]) == Range(low=1.0, high=3.0)


@pytest.mark.parametrize(
    ("brightness", "contrast", "size", "word"),
    [
        (110, 25, (48, 40), None),
        (51, 25, (48, 40), None),  # half as dark as the darkest good part
        (45, 25, (48, 40), "brightness"),
        (110, 8, (48, 40), "contrast"),
        (110, 70, (48, 40), "contrast"),
        (110, 25, (49, 40), "width"),
        (110, 25, (48, 20), "height"),
    ],
)
def test_what_is_unlike_good_parts_is_named(
    brightness: float, contrast: float, size: tuple[int, int], word: str | None
) -> None:
    why = why_unfit(TRAINED, size, grey_levels(_picture(brightness, contrast)))
    assert (why is None) if word is None else (why is not None and word in why)


def test_depth_alone_is_judged_by_its_size() -> None:
    sizes_only = TRAINED.model_copy(update={"brightness": None, "contrast": None})
    assert why_unfit(sizes_only, (48, 40), None) is None
    assert why_unfit(sizes_only, (40, 48), None) is not None


def test_a_dark_noisy_frame_is_a_fault_and_never_a_pass(tmp_path: Path) -> None:
    model, backend = open_backend(write_tiny_model(tmp_path))
    spec = model.manifest.model_copy(update={"trained": TRAINED})
    frame = np.random.default_rng(0).normal(8, 3, (40, 48, 3)).clip(0, 255).astype(np.uint8)
    with Inspector(spec, backend) as inspector:
        found = inspector.inspect(frame, colour="rgb")
        assert found.verdict == "fault"
        assert "brightness" in found.reason
        assert np.isnan(found.score)
        good = np.tile(_picture(110, 25)[:1, ::1], (40, 1, 1)).repeat(2, axis=1)[:, 8:56]
        assert inspector.inspect(np.ascontiguousarray(good), colour="rgb").verdict != "fault"


@given(seed=st.integers(0, 10_000), size=st.integers(2, 20))
def test_levels_of_the_pixels_looked_at_are_those_of_these_pixels(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    picture, other = rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    looked_at = rng.random((size, size)) < 0.5
    looked_at[:2, :2] = True
    found = grey_levels(picture, looked_at)
    assert grey_levels(np.where(looked_at[..., None], picture, other), looked_at) == found
    grey = picture.astype(np.float64).mean(axis=2)[looked_at]
    assert found[:2] == pytest.approx((grey.mean(), grey.std()), rel=1e-9, abs=1e-6)
    assert grey_levels(picture, np.ones((size, size), np.bool_)) == grey_levels(picture)


def test_sharpness_takes_no_difference_across_the_border_of_a_mask() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 200
    left = np.zeros((8, 8), np.bool_)
    left[:, :4] = True
    assert grey_levels(picture, left) == (0, 0, 0)
    assert grey_levels(picture).sharpness > 0


def test_nothing_spins_after_the_grey_levels_are_taken() -> None:
    """In a process of its own: threads of another library would be counted here too."""
    code = (
        "import time, numpy as np; from ast_edge.frames.levels import grey_levels; "
        "picture = np.full((256, 256, 3), 90, np.uint8); grey_levels(picture); "
        "before = time.process_time(); time.sleep(0.2); print(time.process_time() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.03
