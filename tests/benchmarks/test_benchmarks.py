"""The benchmarks: their configurations are valid, and they count the known cost of the paper's network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ast_edge.cli import main
from ast_edge.train.config import preset
from ast_edge.train.network import AstNetwork
from benchmarks.accuracy import measure, study
from benchmarks.common import network_size


@pytest.mark.slow
@pytest.mark.parametrize("row", study.ROWS, ids=lambda row: row.name)
def test_every_row_of_the_study_is_a_configuration(
    row: study.Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options are looked at before the data: what is refused here is the folder that is not there."""
    words = ("--mode", row.modes[0], "--weights", row.weights, *row.options)
    assert main(["train", str(tmp_path / "nothing"), "-o", str(tmp_path / "run"), *words]) == 1
    assert "expected a data folder" in capsys.readouterr().err


def test_the_study_lists_what_has_no_result_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All jobs of a row at first; one fewer when its result is there."""
    monkeypatch.setattr(measure, "KEPT", tmp_path)
    words = ("product", "--weights", "weights", "--work", "work", "--list", "--only", "stages_23")
    monkeypatch.setattr(sys, "argv", ["measure", *words])
    (row,) = (row for row in study.ROWS if row.name == "stages_23")
    jobs = [f"stages_23_{mode}_{seed}" for mode in row.modes for seed in row.seeds]
    assert len(jobs) > 1

    def listed() -> list[str]:
        assert measure.main() == 0
        return [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]

    assert listed() == jobs
    (tmp_path / f"{jobs[0]}.json").touch()
    assert listed() == jobs[1:]


@pytest.mark.slow
def test_the_paper_network_costs_what_is_known() -> None:
    """Multiply-accumulates and parameters of the published network, mode depth, counted independently."""
    config = preset("paper", "depth")
    found = network_size.measure(AstNetwork(config, None), config)
    assert found["gmac_trunk"] == 0
    assert found["gmac_teacher"] == pytest.approx(0.49, abs=0.005)
    assert found["gmac_student"] == pytest.approx(44.34, abs=0.005)
    assert found["gmac"] == pytest.approx(found["gmac_teacher"] + found["gmac_student"])
    assert found["parameters_m"] == pytest.approx(0.853 + 77.00, abs=0.005)
