"""A depth sensor that stands still while its camera goes on: a station process, a PLC, recorded pictures."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from ast_edge.model.manifest import Mode
from ast_edge.synthetic.dataset import PartCounts, write_product
from benchmarks.line.plc import VERDICTS, Plc
from tests.line.process import StationProcess
from tests.line.service.test_condition import output, trigger
from tests.waiting import wait_for

PARTS = 80


@pytest.mark.slow
def test_no_part_is_judged_by_the_depth_of_the_one_before(
    tmp_path: Path, tiny_models: dict[Mode, Path]
) -> None:
    """Forty of the eighty maps repeat the one before, at random places and for one to several parts."""
    write_product(tmp_path / "product", PartCounts(PARTS, 1, 1, 1), seed=0, size=64)
    maps = sorted((tmp_path / "product" / "train" / "good" / "xyz").glob("*.tiff"))
    frozen = sorted(random.Random(0).sample(range(1, PARTS), PARTS // 2))  # noqa: S311 (no secret)
    for at in frozen:
        shutil.copy(maps[at - 1], maps[at])
    (tmp_path / "plc").mkdir()
    with Plc(tmp_path / "plc") as plc:
        camera = f'[camera]\nuri = "dir://{maps[0].parent.parent / "rgb"}?trigger=software"\n'
        toml = f"{camera}{trigger(plc.port)}picture_within_ms = 5000\n{output(plc.port)}"
        with StationProcess(tmp_path / "station", tiny_models["rgbd"], toml) as station:
            station.wait_until("ready", True)
            for number in range(1, PARTS + 1):
                plc.trigger()
                wait_for(lambda: len(plc.results()) == number)  # noqa: B023 (called at once)
        assert [at for at, one in enumerate(plc.results()) if VERDICTS[one.verdict] == "fault"] == frozen
    assert station.log.count("the depth map equals the one before") >= 1
