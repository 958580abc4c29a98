"""The roofline: costs against hand counts and PyTorch's counter, ceilings, boards, bounds, the command."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from benchmarks.common.command import module
from benchmarks.roofline import tables
from benchmarks.roofline.boards import BOARDS
from benchmarks.roofline.bounds import Ceilings, Habits, bound_by_bytes, cautious_ms, floor_ms
from benchmarks.roofline.layers import Layer, Network, network_of
from tests.paths import ROOT

pytestmark = pytest.mark.slow

F32 = TensorProto.FLOAT


def save(
    path: Path,
    nodes: list[NodeProto],
    shapes: dict[str, list[int]],
    weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int8]]],
) -> Path:
    """A graph from the first to the last of `shapes`."""
    first, last = next(iter(shapes)), list(shapes)[-1]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(first, F32, shapes[first])],
        [helper.make_tensor_value_info(last, F32, shapes[last])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def ones(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("weight", "groups", "stride", "kind", "macs"),
    [
        ((8, 4, 3, 3), 1, 1, "dense", 8 * 100 * 4 * 9),
        ((8, 4, 3, 3), 1, 2, "dense", 8 * 25 * 4 * 9),
        ((8, 4, 1, 1), 1, 1, "pointwise", 8 * 100 * 4),
        ((4, 1, 3, 3), 4, 1, "depthwise", 4 * 100 * 9),
        ((8, 2, 3, 3), 2, 1, "dense", 8 * 100 * 2 * 9),
    ],
)
def test_convolutions_cost_what_one_counts_by_hand(
    weight: tuple[int, ...], groups: int, stride: int, kind: str, macs: int, tmp_path: Path
) -> None:
    half, side = weight[2] // 2, 10 // stride
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], name="c", pads=[half] * 4, group=groups, strides=[stride] * 2
    )
    shapes = {"x": [1, 4, 10, 10], "y": [1, weight[0], side, side]}
    found = network_of(save(tmp_path / "m.onnx", [node], shapes, {"w": ones(*weight), "b": ones(weight[0])}))
    nbytes = 4 * (400 + int(np.prod(weight)) + weight[0] * (1 + side**2))
    assert found == Network((Layer("c", "fp32", macs, nbytes, kind),), ())
    assert found.layers[0].flop == 2 * macs


@pytest.mark.parametrize(("transposed", "weight"), [(0, (20, 30)), (1, (30, 20))])
def test_matrix_products_cost_what_one_counts_by_hand(
    transposed: int, weight: tuple[int, int], tmp_path: Path
) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="g", transB=transposed)
    path = save(tmp_path / "m.onnx", [node], {"x": [5, 20], "y": [5, 30]}, {"w": ones(*weight)})
    expected = Layer("g", "fp32", 5 * 20 * 30, 4 * (100 + 600 + 150), "matmul")
    assert network_of(path).layers == (expected,)


def test_products_of_stacks_of_matrices_count_the_inner_size(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    path = save(tmp_path / "m.onnx", [node], {"x": [7, 5, 20], "y": [7, 5, 30]}, {"w": ones(7, 20, 30)})
    assert network_of(path).macs == 7 * 5 * 20 * 30


def test_what_is_between_layers_costs_bytes_unless_it_is_fused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="c"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Identity", ["b"], ["d"], name="same"),
        helper.make_node("Add", ["d", "x"], ["y"], name="add"),
    ]
    shapes = {"x": [1, 4, 10, 10], "y": [1, 4, 10, 10]}
    found = network_of(save(tmp_path / "m.onnx", nodes, shapes, {"w": ones(4, 4, 1, 1)}))
    assert [(element.name, element.bytes) for element in found.elements] == [
        ("relu", 4 * 800),
        ("add", 4 * 1200),
    ]
    assert found.layer_bytes == 4 * (400 + 16 + 400)
    assert found.all_bytes == found.layer_bytes + 4 * 2000


@pytest.mark.parametrize(("also_read", "written"), [(False, 1), (True, 4)])
def test_int8_layers_count_their_tensors_as_they_are_stored(
    also_read: bool, written: int, tmp_path: Path
) -> None:
    """An output that only a quantisation reads is written as integers, one that a sum needs too is not."""
    ends = ["v", "y"] if not also_read else ["v", "s"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
        helper.make_node("QuantizeLinear", ["w", "one", "zero"], ["wq"]),
        helper.make_node("DequantizeLinear", ["wq", "one", "zero"], ["wd"]),
        helper.make_node("Conv", ["d", "wd"], ["a"], name="c"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("QuantizeLinear", ["b", "one", "zero"], ["u"]),
        helper.make_node("DequantizeLinear", ["u", "one", "zero"], [ends[0]]),
        helper.make_node("Sigmoid", [ends[0]], [ends[1]], name="sigmoid"),
        *([helper.make_node("Add", ["s", "b"], ["y"], name="add")] if also_read else []),
    ]
    weights = {"w": ones(8, 4, 1, 1), "one": np.float32(1).reshape(()), "zero": np.int8(0).reshape(())}
    found = network_of(save(tmp_path / "m.onnx", nodes, {"x": [1, 4, 10, 10], "y": [1, 8, 10, 10]}, weights))
    assert found.layers == (Layer("c", "int8", 3200, 400 + 32 + written * 800, "pointwise"),)
    assert [element.name for element in found.elements] == [
        "relu",
        "sigmoid",
        *(["add"] if also_read else []),
    ]


def test_resnet18_costs_what_pytorch_counts_and_others_publish(tmp_path: Path) -> None:
    """1.81 GMAC at 224 pixels, the figure of its model cards; and 11.7 million parameters read once."""
    import timm  # noqa: PLC0415 (torch is slow to import)
    import torch  # noqa: PLC0415
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    from ast_edge.model.manifest import TensorSpec  # noqa: PLC0415
    from ast_edge_export.trace import trace  # noqa: PLC0415

    network = timm.create_model("resnet18", pretrained=False).eval()

    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = self.body(image)
            return scores, scores.amax(1)

    spec = TensorSpec(name="image", dtype="float32", shape=(1, 3, 224, 224))
    onnx.save(trace(Named(), (spec,), tmp_path / "traced.onnx"), tmp_path / "resnet18.onnx")
    with torch.inference_mode(), FlopCounterMode(display=False) as counted:
        network(torch.zeros(1, 3, 224, 224))
    found = network_of(tmp_path / "resnet18.onnx")
    assert sum(layer.flop for layer in found.layers) == counted.get_total_flops()
    assert found.macs / 1e9 == pytest.approx(1.81, abs=0.01)
    assert len(found.layers) == 21
    parameters = sum(weight.numel() for weight in network.parameters())
    assert found.layer_bytes > 4 * 0.999 * parameters


CEILINGS = Ceilings(1e9, {"fp32": 1e9, "fp16": 4e9})
HABITS = Habits(bytes_per_s=5e8, share=0.5, node_s=1e-6, shares={"depthwise": 0.1, "element": 1.0})
SMALL = Network(
    (
        Layer("a", "fp32", 2_000_000, 1_000_000),
        Layer("b", "fp16", 4_000_000, 3_000_000),
        Layer("d", "fp32", 1_000_000, 500_000, "depthwise"),
    ),
    (Layer("e", "fp32", 0, 1_000_000, "element"),),
)


def test_bounds_are_what_one_counts_by_hand() -> None:
    assert floor_ms(SMALL.layers, CEILINGS) == pytest.approx(2 + 3 + 1)
    # 4 by multiplications, 6 by bytes, 10 by multiplications at a tenth, 2 by bytes; four nodes of 1 us
    assert cautious_ms(SMALL, CEILINGS, HABITS) == pytest.approx(4 + 6 + 10 + 2 + 0.004)
    assert bound_by_bytes(SMALL.layers, CEILINGS) == pytest.approx(3 / 6)


def test_shares_are_looked_up_from_the_most_to_the_least_particular() -> None:
    habits = replace(HABITS, shares={"depthwise fp32": 0.1, "depthwise": 0.2, "fp32": 0.3})
    layers = (
        Layer("l", precision, 1, 1, kind) for kind in ("depthwise", "dense") for precision in ("fp32", "fp16")
    )
    assert [habits.share_of(layer) for layer in layers] == [0.1, 0.2, 0.3, HABITS.share]


def test_a_better_machine_is_never_predicted_slower() -> None:
    floor, cautious = floor_ms(SMALL.layers, CEILINGS), cautious_ms(SMALL, CEILINGS, HABITS)
    assert cautious > floor
    for better in (
        replace(CEILINGS, bytes_per_s=2e9),
        replace(CEILINGS, macs_per_s={"fp32": 3e9, "fp16": 4e9}),
        replace(CEILINGS, macs_per_s={"fp32": 1e9, "fp16": 9e9}),
    ):
        assert floor_ms(SMALL.layers, better) <= floor
        assert cautious_ms(SMALL, better, HABITS) <= cautious
    for worse in (replace(HABITS, share=0.2), replace(HABITS, bytes_per_s=1e8), replace(HABITS, node_s=1e-3)):
        assert cautious_ms(SMALL, CEILINGS, worse) > cautious


def test_more_work_is_never_predicted_faster() -> None:
    more = Network((*SMALL.layers, Layer("f", "fp32", 10, 10)), SMALL.elements)
    assert floor_ms(more.layers, CEILINGS) > floor_ms(SMALL.layers, CEILINGS)
    assert cautious_ms(more, CEILINGS, HABITS) > cautious_ms(SMALL, CEILINGS, HABITS)


def test_the_cautious_estimate_is_never_below_the_floor() -> None:
    """Even when the caches were measured slower than they are: a floor is a floor."""
    generous = Habits(bytes_per_s=1e12, share=10.0, node_s=0.0)
    assert cautious_ms(SMALL, CEILINGS, generous) == floor_ms(SMALL.layers, CEILINGS)


# Dense rates and bandwidth that NVIDIA publishes: TFLOPS FP32, TFLOPS FP16, TOPS INT8, GB/s.
PUBLISHED = {
    "orin_nano_8gb_15w": (1.28, 10, 20, 68),
    "orin_nano_8gb_super": (2.09, 17, 33, 102),
    "orin_nx_16gb": (1.88, 15, 30, 102.4),
    "agx_orin_64gb": (5.3, 42.5, 85, 204.8),
    "agx_thor": (8.06, 258, 517, 273),
}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.key)
def test_boards_have_the_published_figures(board: object) -> None:
    from benchmarks.roofline.boards import Board  # noqa: PLC0415

    assert isinstance(board, Board)
    fp32, fp16, int8, bandwidth = PUBLISHED[board.key]
    ceilings = board.ceilings()
    assert 2 * ceilings.rate("fp32") / 1e12 == pytest.approx(fp32, rel=0.02)
    assert 2 * ceilings.rate("fp16") / 1e12 == pytest.approx(fp16, rel=0.03)
    assert 2 * ceilings.rate("int8") / 1e12 == pytest.approx(int8, rel=0.03)
    assert ceilings.bytes_per_s / 1e9 == bandwidth
    assert "GB/s" in board.source
    assert board.power_mode
    assert board.habits().bytes_per_s < ceilings.bytes_per_s


def test_this_machine_shows_ceilings_in_the_right_units() -> None:
    """Of one thread, and by the GPU's path on the CPU; generous about a machine that others use, too."""
    from benchmarks.roofline.ceilings import Effort, cpu, torch_ceilings  # noqa: PLC0415

    effort = Effort(rounds=5, memory_bytes=8 << 20, cache_bytes=64 << 10, matrix=256)
    measured = cpu(1, effort)
    for ceilings in (measured.ceilings, torch_ceilings("cpu", effort)):
        assert 1e8 < ceilings.rate("fp32") < 1e13
        assert 1e8 < ceilings.bytes_per_s < 1e13
    assert measured.ceilings.bytes_per_s >= measured.habits.bytes_per_s
    assert set(measured.habits.shares) == {"matmul", "dense", "pointwise", "depthwise"}
    assert all(0 < share <= 1 for share in measured.habits.shares.values())
    assert 0 < measured.habits.node_s < 1e-2


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*module("roofline.measure"), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_dry_run_predicts_and_measures_everything(tmp_path: Path) -> None:
    benchmark = tmp_path / "bench.json"
    benchmark.write_text('{"stages_ms": {"engine": {"p50": 12.5}}}', encoding="utf-8")
    output, models = tmp_path / "roofline.json", tmp_path / "models"
    words = ("--dry-run", "-o", output, "--models", models, "--measured", f"nano_rgb_fp32={benchmark}")
    done = command(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["dry_run"] is True
    expected = {f"{preset}_{mode}" for preset in ("nano", "balanced") for mode in ("rgb", "rgbd")}
    for entry in result["cpu"]:
        assert set(entry["models"]) == {f"{name}_fp32" for name in expected}
        for row in entry["models"].values():
            assert 0 < row["floor_ms"] <= row["cautious_ms"]
            assert row["min_ms"] > 0
            assert row["p50_ms"] is None  # too few parts
    for board in result["boards"].values():
        assert set(board["prediction"]) == {
            f"{name}_{kind}" for name in expected for kind in ("fp16", "int8")
        }
    half, full = (result["networks"][f"nano_rgb_{kind}"] for kind in ("fp16", "fp32"))
    assert half["gmac"] == full["gmac"]
    assert half["mbytes"] < full["mbytes"] < full["mbytes_unfused"]
    assert set(half["gmac_by_precision"]) == {"fp16", "fp32"}  # the flow stays in FP32
    assert result["networks"]["nano_rgb_int8"]["gmac_by_precision"]["int8"] > 0
    assert "left_out" in result["gpu"] or result["gpu"]["floor_ms"]
    earlier = result["earlier"]["bench.json nano_rgb_fp32"]
    assert earlier["measured_ms"] == 12.5
    assert earlier["over_floor"] == pytest.approx(12.5 / earlier["floor_ms"], rel=0.01)
    assert tables.cpu_table(result) in done.stdout
    assert f"{tables.board_table(result)}\n" in done.stdout.partition("PREDICTED")[2]

    changed = {**result, "boards": {}, "rounds": 77}
    output.write_text(json.dumps(changed), encoding="utf-8")
    kept = command("--keep", output, "-o", tmp_path / "again.json", "--models", models)
    assert kept.returncode == 0, kept.stdout + kept.stderr
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert again == {**result, "rounds": 77}
    output.write_text(json.dumps({**result, "networks": {}}), encoding="utf-8")
    refused = command("--keep", output, "-o", tmp_path / "again.json", "--models", models)
    assert (refused.returncode, "measure again" in refused.stderr) == (1, True)

    listed = command("--layers", models / "nano_rgb.fp16.onnx")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.startswith("| layer | kind | precision | MFLOP | MB |")
    assert listed.stdout.count("\n") == half["layers"] + half["elements"] + 2


def test_a_dry_run_leaves_nothing_and_a_real_one_needs_a_file() -> None:
    done = command()
    assert done.returncode == 2
    assert "give -o" in done.stderr
