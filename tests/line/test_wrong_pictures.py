"""No part is judged by another part's picture: a short run of `benchmarks.line.wrong_pictures`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ast_edge.cameras.gi_bindings import load
from ast_edge.errors import CameraError
from benchmarks.line.scenarios import SCENARIOS
from benchmarks.line.wrong_pictures import run
from tests.waiting import program

pytestmark = [pytest.mark.slow, pytest.mark.alone]

# Where a part that is disturbed cannot be judged by any picture of its own.
HOPELESS = {
    "stopped",
    "starved",
    "stopped_http",
    "stalled_broker",
    "late_camera",
    "silent_camera",
    "free_camera_stalls",
}


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_every_verdict_came_from_the_parts_own_picture(name: str, tmp_path: Path, tiny_rgb: Path) -> None:
    program("mosquitto", "mosquitto")
    try:
        load("Aravis", "0.8")
    except CameraError as exc:
        pytest.skip(str(exc))
    found = cast("dict[str, Any]", run(SCENARIOS[name], tmp_path / name, tiny_rgb, (2, 0)))
    assert found["wrong_pictures"] == []
    assert found["wrong"] == 0
    assert found["lies"] == []
    assert found["judged"] >= 2
    assert found["faults"] >= (2 if name in HOPELESS else 0)
