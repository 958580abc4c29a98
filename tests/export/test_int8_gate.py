"""The checks that an INT8 model must pass to be written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ast_edge.backends.proof import SCORE_TOLERANCE
from ast_edge.data import open_dataset
from ast_edge.errors import ParityError, RunError
from ast_edge.model.manifest import Precision
from ast_edge.model.onnx_file import read_model_file
from ast_edge.model.references import reference_path
from ast_edge.train.features import network_inputs
from ast_edge.train.run import Run
from ast_edge_export import Exported, export_run
from ast_edge_export.fold import FoldedNetwork
from ast_edge_export.int8_gate import AUROC_CHANGE, Evidence, Figures, Proof, quantise
from ast_edge_export.trace import trace
from tests.small import small_product

INT8: tuple[Precision, ...] = ("int8",)
pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")
GOOD = Figures(
    score_error=0.01,
    flipped_verdicts=0,
    false_reject_rate=0.05,
    false_reject_rate_fp32=0.04,
    false_reject_interval=(0.0, 0.2),
    auroc=0.9,
    auroc_fp32=0.901,
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"auroc": None, "auroc_fp32": None}, None),
        ({"score_error": 0.06}, "off by 0.06 relative (allowed 0.05)"),
        ({"score_error": float("nan")}, "off by nan relative"),
        ({"flipped_verdicts": 1}, "1 reference verdicts flip"),
        (
            {"false_reject_rate": 0.21},
            "0.210 of the held-out good parts are rejected, by the FP32 model 0.040",
        ),
        ({"auroc": 0.901 - 1.1 * AUROC_CHANGE}, "the image AUROC is 0.8977, of the FP32 model 0.9010"),
        ({"auroc": 0.901 + 1.1 * AUROC_CHANGE}, "the image AUROC is 0.9043"),
    ],
)
def test_what_is_refused(change: dict[str, float], words: str | None) -> None:
    refusal = replace(GOOD, **change).refusal  # type: ignore[arg-type]
    assert (refusal is None) if words is None else (refusal is not None and words in refusal)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, rgb_run: Path) -> list[Exported]:
    target = tmp_path_factory.mktemp("int8") / "model.onnx"
    return export_run(rgb_run, target, precisions=INT8)


def test_int8_stands_beside_the_model_and_proves_itself(exported: list[Exported]) -> None:
    full, small = exported
    assert (full.precision, small.precision) == ("fp32", "int8")
    assert small.path == full.path.with_name("model.int8.onnx")
    assert reference_path(small.path) == reference_path(full.path)
    manifest = read_model_file(small.path).manifest
    assert manifest.precision == "int8"
    thresholds = [read_model_file(path).manifest.threshold for path in (full.path, small.path)]
    part_scores = [threshold.value - threshold.margin for threshold in thresholds]
    assert part_scores[0] == pytest.approx(part_scores[1], rel=1e-12)
    assert thresholds[0].margin < 3e-4 * part_scores[0] < thresholds[1].margin <= 0.1 * part_scores[1]
    assert small.parity.tolerance == 0.05
    assert 1e-5 < small.parity.max_relative_score_error < 0.05


def test_the_report_beside_it_names_every_layer(exported: list[Exported]) -> None:
    small = exported[1]
    content = json.loads(small.path.with_suffix(".json").read_text())
    assert content["sensitivity"].keys() >= {"/student/conv_in/Conv", "/student/conv_out/Conv"}
    assert min(content["sensitivity"].values()) >= 0
    assert content["sensitivity"]["/student/conv_in/Conv"] > 0
    assert content["figures"]["auroc"] is not None
    assert abs(content["figures"]["auroc"] - content["figures"]["auroc_fp32"]) <= AUROC_CHANGE
    worst = sorted(content["sensitivity"], key=lambda name: -content["sensitivity"][name])
    assert content["in_fp32"] == worst[: len(content["in_fp32"])]


def test_other_data_is_refused(
    rgb_run: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = Path(shutil.copytree(small_product(tmp_path_factory), tmp_path / "data"))
    good = data / "train" / "good" / "rgb"
    shutil.copy(good / "001.png", good / "000.png")
    with pytest.raises(RunError, match=r"is not the data that .* was trained on; name it with --data"):
        export_run(rgb_run, tmp_path / "m.onnx", precisions=INT8, data=data)
    assert not (tmp_path / "m.onnx").exists()


def test_where_int8_misses_its_gate_nothing_is_written(
    rgb_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORE_TOLERANCE, "int8", 1e-9)
    message = (
        r"model.int8.onnx: INT8 does not keep the verdicts, even with \d+ of \d+ layers in FP32: a reference"
    )
    with pytest.raises(ParityError, match=message):
        export_run(rgb_run, tmp_path / "model.onnx", precisions=INT8)
    assert not list(tmp_path.iterdir())


def test_ranges_from_other_parts_do_not_pass(depth_run: Path, product: Path, tmp_path: Path) -> None:
    """From parts almost without depth: what real ones have saturates, and sparing layers is not enough."""
    run = Run(depth_run)
    config, spec, references = run.config().train, run.spec(), run.references()
    graph = trace(FoldedNetwork(run.load_network()), spec.input_specs(1), tmp_path / "traced.onnx")
    samples = open_dataset(product, mode="depth").validation
    found = [network_inputs(sample, "depth", config.preprocessing) for sample in samples]
    held_out = [{name: array[None] for name, array in part.items()} for part in found]
    flat = [{**held_out[0], "depth": 1e-3 * held_out[0]["depth"]}]
    no_parts = np.zeros(0, np.bool_)
    proof = Proof(references, spec)
    for ranges, passes in ((flat, False), (held_out, True)):
        _, report = quantise(graph, Evidence(ranges, held_out, [], no_parts), proof)
        assert (report.figures.refusal is None) == passes
        assert report.figures.auroc is None
        assert passes or len(report.in_fp32) == 3 * len(report.sensitivity) // 4
