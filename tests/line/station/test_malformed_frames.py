"""Malformed frames: each is a fault or is judged, and the line goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ast_edge.cameras.base import Frame
from ast_edge.frames.pixel_formats import COLOURS
from ast_edge.line.events import ignore
from ast_edge.line.station.recipes import Recipes, open_recipe
from ast_edge.model.manifest import Mode
from tests.line.rig import rig

pytestmark = pytest.mark.slow

ANY_ARRAY = arrays.arrays(
    st.sampled_from([np.uint8, np.uint16, np.float32, np.int64, np.bool_]),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=40),
)
PIXELS = st.none() | ANY_ARRAY | st.just("no array") | st.integers()
DEPTHS = st.none() | ANY_ARRAY | arrays.arrays(np.float32, (40, 48), elements=st.floats(width=32))
COLOUR = st.sampled_from([*COLOURS, None, "purple", 7])


@pytest.mark.parametrize("mode", ["rgb", "depth", "rgbd"])
@settings(max_examples=100)
@given(pixels=PIXELS, depth=DEPTHS, colour=COLOUR, number=st.integers(-(2**70), 2**70))
def test_whatever_a_camera_gives_the_part_gets_its_verdict(
    mode: Mode, tiny_models: dict[Mode, Path], pixels: Any, depth: Any, colour: Any, number: int
) -> None:
    recipes = Recipes({}, open_recipe(mode, tiny_models[mode], threads=1), ignore)
    with rig(recipes=recipes) as bench:
        bench.station.trigger()
        bench.camera.frames.put(Frame(pixels, colour, number, None, time.monotonic_ns(), "", depth))
        bench.settle(1)
        assert bench.station.failures == 0, bench.station.last_failure
        found = bench.results[0]
        assert found.verdict == "fault" or np.isfinite(found.score)
        assert found.verdict != "fault" or found.reason
        found.as_json()


def test_a_camera_that_counts_backwards_or_leaps_makes_no_million_parts() -> None:
    with rig(triggering="camera") as bench:
        bench.camera.show()
        bench.camera.show(lost=10**9)
        bench.settle(2)
        bench.camera.number = 0
        bench.camera.show()
        time.sleep(0.2)
        balance = bench.station.balance()
    assert balance.triggers < 2000
