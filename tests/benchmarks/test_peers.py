"""The race against the peers: its dry run, its workers, what it counts, and its tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.common.command import module
from benchmarks.peers import cards, graph_facts, table
from benchmarks.peers.cards import Card
from benchmarks.peers.race import Race, Runner
from benchmarks.roofline import measure as roofline
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

SPEED = module("peers.speed")


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of the dry run that CI makes."""
    folder = tmp_path_factory.mktemp("results")
    subprocess.run([*SPEED, "--dry-run", "-o", folder / "peers.json"], check=True)
    return folder


def test_the_dry_run_times_every_form_of_the_network(dry_run: Path) -> None:
    content = json.loads((dry_run / "peers.json").read_text("utf-8"))
    assert content["schema_version"] == 1
    networks = content["networks"]
    names = {"eager", "plain", "plain_older", "fp32", "fp16", "int8"}
    assert set(networks) == {f"nano_rgb_{name}" for name in names}
    for name, entry in networks.items():
        expected = {"torch"} if name.endswith("eager") else {"onnxruntime", "openvino"}
        assert set(entry["engines"]) == expected, entry["reasons"]
        assert all(found["min_ms"] > 0 for found in entry["engines"].values())
        # Two parts support no percentile.
        assert all(found["p25_ms"] is None for found in entry["engines"].values())
        assert all(0 < found["rest_mib"] <= found["peak_mib"] for found in entry["engines"].values())


def test_all_forms_are_the_same_network(dry_run: Path) -> None:
    """Or the race would compare different work: eager, both plain exports and ours, in both engines."""
    networks = json.loads((dry_run / "peers.json").read_text("utf-8"))["networks"]
    eager = networks["nano_rgb_eager"]["engines"]["torch"]["scores"]
    for name in ("plain", "plain_older", "fp32"):
        for engine, found in networks[f"nano_rgb_{name}"]["engines"].items():
            assert found["scores"] == pytest.approx(eager, rel=1e-3), (name, engine)


def test_multiplications_are_counted_in_every_exporters_graph(dry_run: Path) -> None:
    networks = json.loads((dry_run / "peers.json").read_text("utf-8"))["networks"]
    eager = networks["nano_rgb_eager"]["gmac"]
    plain, older = (networks[f"nano_rgb_{name}"]["gmac"] for name in ("plain", "plain_older"))
    assert plain == older
    # timm runs the whole backbone; an exporter leaves out unused outputs.
    assert 0.7 * eager < plain < eager
    # Folding takes the condition out of the flow's and the student's first layers.
    assert 0.9 * plain < networks["nano_rgb_fp32"]["gmac"] < plain


def test_the_tables_have_a_row_for_each_network(dry_run: Path) -> None:
    rows = table.table(dry_run).splitlines()[2:]
    assert len(rows) == 6
    cells = {row.split(" | ")[0]: row.split(" | ")[5:8] for row in rows}
    eager = cells.pop("| AST, `nano` as plain PyTorch, rgb, fp32")
    assert eager[:2] == ["-", "-"]
    assert float(eager[2]) > 0
    assert all(float(found[0]) > 0 and float(found[1]) > 0 and found[2] == "-" for found in cells.values())
    assert len(table.engine_table(dry_run).splitlines()[2:]) == 5


def test_a_network_that_cannot_be_loaded_stands_in_the_table_with_the_reason(tmp_path: Path) -> None:
    onnx.save(_score_model(), tmp_path / "good.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model at all")
    for name in ("good", "bad"):
        card = Card(name, name, 32, preset="nano", files={"onnxruntime": f"{name}.onnx"})
        cards.write(card, tmp_path)
    words = ["--rounds", "1", "--pictures", "2", "-o", str(tmp_path / "peers.json")]
    subprocess.run([*SPEED, tmp_path, *words], check=True)
    networks = json.loads((tmp_path / "peers.json").read_text("utf-8"))["networks"]
    assert networks["good"]["engines"]["onnxruntime"]["count"] == 2
    assert not networks["bad"]["engines"]
    assert "bad.onnx" in networks["bad"]["reasons"]["onnxruntime"]
    row = next(row for row in table.table(tmp_path).splitlines() if row.startswith("| bad"))
    assert "bad.onnx" in row.split(" | ")[5]


def test_a_heat_is_added_to_the_ones_before(tmp_path: Path) -> None:
    for name in ("first", "second"):
        onnx.save(_score_model(), tmp_path / f"{name}.onnx")
        cards.write(Card(name, name, 32, preset="nano", files={"onnxruntime": f"{name}.onnx"}), tmp_path)
    words = ["--rounds", "1", "--pictures", "2", "-o", str(tmp_path / "peers.json")]
    subprocess.run([*SPEED, tmp_path, *words, "--only", "first"], check=True)
    alone = json.loads((tmp_path / "peers.json").read_text("utf-8"))["networks"]
    subprocess.run([*SPEED, tmp_path, *words, "--append"], check=True)
    content = json.loads((tmp_path / "peers.json").read_text("utf-8"))
    assert [sorted(heat["again"]) for heat in content["heats"]] == [[], ["first"]]
    assert content["networks"]["first"] == alone["first"]
    assert content["networks"]["second"]["heat"] == 1


def test_who_has_no_turn_is_stopped(tmp_path: Path) -> None:
    onnx.save(_score_model(), tmp_path / "model.onnx")
    np.savez(tmp_path / "pictures.npz", image=np.full((2, 32, 32, 3), 7, np.uint8))
    card = Card("one", "one", 32, preset="nano")
    runners = [
        Runner(card, "onnxruntime", tmp_path / "model.onnx", tmp_path / f"{index}.log") for index in range(2)
    ]
    with Race(runners, pictures=2, pause_s=0.0) as race:
        for runner in runners:
            runner.start(Path(sys.executable), tmp_path / "pictures.npz", 1)
        wait_for(lambda: [_state(runner) for runner in runners] == ["T", "T"])
        runners[0].turn([0, 1, 0])
        wait_for(lambda: [_state(runner) for runner in runners] == ["T", "T"])
        assert len(runners[0].times_ms) == 2
        race.run(rounds=2, timed=1)
        assert [len(runner.times_ms) for runner in runners] == [4, 2]
        assert runners[1].scores == [7.0, 7.0]
    assert all(runner.process is None for runner in runners)


def test_a_worker_that_dies_on_its_way_has_no_figures(tmp_path: Path) -> None:
    onnx.save(_score_model(), tmp_path / "model.onnx")
    np.savez(tmp_path / "pictures.npz", image=np.zeros((1, 32, 32, 3), np.uint8))
    runner = Runner(Card("one", "one", 32), "onnxruntime", tmp_path / "model.onnx", tmp_path / "log")
    with Race([runner], pictures=1, pause_s=0.0) as race:
        runner.start(Path(sys.executable), tmp_path / "pictures.npz", 1)
        assert runner.process is not None
        runner.process.kill()
        runner.process.wait()
        race.run(rounds=1, timed=1)
    assert not runner.whole
    assert "exit code -9" in runner.reason


@pytest.mark.parametrize(
    ("node", "weight", "macs"),
    [
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (8, 5), 4 * 8 * 5),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), (5, 8), 4 * 8 * 5),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), (4, 5), 8 * 4 * 5),
    ],
    ids=["MatMul", "Gemm transB", "Gemm transA"],
)
def test_products_are_counted_by_what_they_sum_over(
    node: onnx.NodeProto, weight: tuple[int, int], macs: int
) -> None:
    assert graph_facts.macs_of(_model([node], (4, 8), weight)) == macs


def test_convolutions_are_counted_as_for_the_floor(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2, pads=[1, 1, 1, 1], strides=[2, 2])
    model = _model([node], (1, 4, 16, 16), (6, 2, 3, 3))
    onnx.save(model, tmp_path / "convolution.onnx")
    assert graph_facts.macs_of(model) == sum(
        layer.macs for layer in roofline.layers_of(tmp_path / "convolution.onnx")
    )


def test_a_card_of_another_version_is_refused(tmp_path: Path) -> None:
    cards.write(Card("one", "one", 32), tmp_path)
    path = tmp_path / f"one{cards.SUFFIX}"
    path.write_text(path.read_text("utf-8").replace('"mode"', '"modes"'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"one\.card\.json: not a card of this version"):
        cards.read(tmp_path)


def test_accuracy_comes_from_the_other_result_files(tmp_path: Path) -> None:
    (tmp_path / "peers").mkdir()
    figures = {"image_auroc": 0.939, "aupro_30": 0.977}
    (tmp_path / "peers" / "one_256_crop.json").write_text(json.dumps({"figures": figures}), encoding="utf-8")
    entry: dict[str, Any] = {
        "method": "PatchCore",
        "size": 256,
        "crop": "1,2,3,4",
        "mode": "rgb",
        "gmac": 1.5,
    }
    entry |= {"precision": "fp32", "maker": "anomalib", "accuracy": "peers/one_256_crop.json"}
    entry |= {"parameters_m": 2.0, "engines": {}, "reasons": {"openvino": "refused"}}
    content = {"heats": [{"foreign_cores": 0.0, "again": {}}], "networks": {"one": {**entry, "heat": 0}}}
    (tmp_path / "peers.json").write_text(json.dumps(content), encoding="utf-8")
    row = table.table(tmp_path).splitlines()[2]
    assert row == "| PatchCore | 256, crop | 1.50 | 2.0 | - | - | refused | - | - | - | 93.9 | 97.7 |"


def _state(runner: Runner) -> str:
    assert runner.process is not None
    stat = Path(f"/proc/{runner.process.pid}/stat").read_text(encoding="utf-8")
    return stat.rpartition(")")[2].split()[0]


def _score_model() -> onnx.ModelProto:
    """uint8 image [1,32,32,3] -> its mean as score [1]."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["score"], axes=[1, 2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 32, 32, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _model(nodes: list[onnx.NodeProto], shape: tuple[int, ...], weight: tuple[int, ...]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(weight, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
