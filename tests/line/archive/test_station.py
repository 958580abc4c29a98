"""A whole station with its archive: as many rows as verdicts, and an overlay of every reject."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.output import Archive
from ast_edge.line.archive.reading import ArchiveReader
from ast_edge.line.station.recipes import Recipes
from ast_edge.line.station.setup import Setup
from ast_edge.line.station.station import Station
from ast_edge.line.station.timing import Timing
from tests.line.archive.bench import check_whole
from tests.line.rig import BenchCamera, Remembering, recipe
from tests.waiting import wait_for


@pytest.mark.slow
def test_as_many_rows_as_verdicts(tmp_path: Path) -> None:
    camera, kept = BenchCamera(), Remembering()
    archive = Archive(ArchiveOptions(folder=tmp_path, every_nth_pass=5, min_free_gb=0))
    recipes = Recipes({}, recipe(), lambda *_: None)
    timing = Timing(deadline_ms=300.0, delay_ms=0.0, drain_s=20.0)
    station = Station(
        Setup(
            name="bench",
            run="run7",
            camera=camera,
            recipes=recipes,
            outputs=[kept, archive],
            timing=timing,
        )
    )
    station.start()
    for number in range(40):
        station.trigger(external_id=f"E{number}")
        if number % 8 != 7:  # for every eighth part the camera gives nothing
            camera.show(bad=number % 4 == 1)
        wait_for(lambda: station.balance().open == 0)
    station.missed(3, "encoder")
    time.sleep(0.1)
    balance = station.stop()
    parts = check_whole(tmp_path)
    assert [part.number for part in parts] == [result.number for result in kept.results]
    assert len(parts) == balance.triggers == 43
    assert {
        verdict: sum(part.verdict == verdict for part in parts) for verdict in balance.verdicts
    } == balance.verdicts
    assert balance.verdicts["reject"] >= 5
    for part in parts:
        assert (part.files.overlay is not None) == (
            part.verdict == "reject" or part.files.picture is not None
        )
    with ArchiveReader(tmp_path) as reader:
        (run,) = reader.runs()
    assert (run.name, run.station, run.parts, run.lost, run.rows) == ("run7", "bench", 43, 0, 43)
