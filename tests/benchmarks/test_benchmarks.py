"""The benchmarks: their rows can be run, and what they count is what the paper's network is known to cost."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ast_edge.cli import main
from ast_edge.train.config import preset
from ast_edge.train.network import AstNetwork
from benchmarks.accuracy import study
from benchmarks.common import network_size
from benchmarks.common.command import module
from tests.paths import ROOT


@pytest.mark.parametrize("row", study.ROWS, ids=lambda row: row.name)
def test_every_row_of_the_study_is_a_configuration(
    row: study.Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options are looked at before the data: what is refused here is the folder that is not there."""
    words = ("--mode", row.modes[0], "--weights", row.weights, *row.options)
    assert main(["train", str(tmp_path / "nothing"), "-o", str(tmp_path / "run"), *words]) == 1
    assert "expected a data folder" in capsys.readouterr().err


def test_the_study_says_what_is_left_to_do(tmp_path: Path) -> None:
    words = (tmp_path / "product", "--weights", tmp_path, "--work", tmp_path, "--list", "--only", "stage_3")
    done = subprocess.run(
        [*module("accuracy.measure"), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    left = [line.partition(":")[0] for line in done.stdout.splitlines()]
    kept = ROOT / "benchmarks" / "results" / "accuracy" / "stage_3_rgb_0.json"
    assert left == ([] if kept.exists() else ["stage_3_rgb_0"])


def test_the_paper_network_costs_what_is_known() -> None:
    """Multiply-accumulates and parameters of the published network, mode depth, counted independently."""
    config = preset("paper", "depth")
    found = network_size.measure(AstNetwork(config, None), config)
    assert found["gmac_trunk"] == 0
    assert found["gmac_teacher"] == pytest.approx(0.49, abs=0.005)
    assert found["gmac_student"] == pytest.approx(44.34, abs=0.005)
    assert found["gmac"] == pytest.approx(found["gmac_teacher"] + found["gmac_student"])
    assert found["parameters_m"] == pytest.approx(0.853 + 77.00, abs=0.005)
