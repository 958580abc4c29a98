from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from ast_edge.backends import open_backend
from ast_edge.backends.base import Backend, Outputs
from ast_edge.backends.fake import FakeBackend
from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.openvino import NETWORKS, OpenVinoBackend
from ast_edge.errors import BackendError, FrameError, ModelError, UsageError
from ast_edge.model.arrays import Array
from ast_edge.model.manifest import Mode
from ast_edge.model.onnx_file import ModelFile, read_model_file, write_model_file
from tests.tiny import tiny_inputs, tiny_manifest, tiny_network, tiny_spec, write_tiny_model

SPEC = tiny_spec("rgbd")
CpuBackend = type[OnnxRuntimeBackend] | type[OpenVinoBackend]
on_each = pytest.mark.parametrize("engine", [OnnxRuntimeBackend, OpenVinoBackend])


def zeros(inputs: Mapping[str, Array]) -> Outputs:
    count = len(inputs["image"])
    return Outputs(np.zeros(count, np.float32), np.zeros((count, 4, 4), np.float32))


def fake(answer: Outputs) -> Backend:
    return FakeBackend(SPEC, lambda _: answer)


@pytest.fixture
def rgbd(tiny_models: dict[Mode, Path]) -> ModelFile:
    return read_model_file(tiny_models["rgbd"])


def test_a_fake_takes_any_batch() -> None:
    backend = FakeBackend(SPEC, zeros)
    assert backend.batch == -1
    for count in (1, 5):
        assert backend.run(tiny_inputs(SPEC, count)).score.shape == (count,)


WRONG_INPUTS: dict[str, tuple[dict[str, Array], str]] = {
    "missing": ({"image": np.zeros((1, 32, 32, 3), np.uint8)}, "expected the inputs .* found .'image'"),
    "unknown": ({**tiny_inputs(SPEC, 1), "mask": np.zeros(1)}, "found .*'mask'"),
    "dtype": ({**tiny_inputs(SPEC, 1), "depth": np.zeros((1, 1, 32, 32))}, "input 'depth': expected float32"),
    "shape": (
        {**tiny_inputs(SPEC, 1), "foreground": np.zeros((1, 4, 4), np.float32)},
        r"'foreground': expected float32 \[1, 1, 4, 4\], found float32 \[1, 4, 4\]",
    ),
    "mixed batch": ({**tiny_inputs(SPEC, 2), "image": tiny_inputs(SPEC, 1)["image"]}, "'depth': expected"),
    "empty batch": ({name: array[:0] for name, array in tiny_inputs(SPEC, 1).items()}, "'image': expected"),
    "scalar": ({**tiny_inputs(SPEC, 1), "image": np.uint8(1)}, "expected a NumPy array, found uint8"),
    "list": ({**tiny_inputs(SPEC, 1), "image": [1]}, "expected a NumPy array, found list"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_inputs_that_do_not_fit_are_refused_before_the_engine_sees_them(case: str) -> None:
    inputs, words = WRONG_INPUTS[case]

    def answer(inputs: Mapping[str, Array]) -> Outputs:
        raise AssertionError("the engine was run")

    with pytest.raises(FrameError, match=words):
        FakeBackend(SPEC, answer).run(inputs)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (
            Outputs(np.zeros(2, np.float32), np.zeros((1, 4, 4), np.float32)),
            r"'score': expected float32 \[1\]",
        ),
        (Outputs(np.zeros(1), np.zeros((1, 4, 4), np.float32)), "'score': expected float32"),  # type: ignore[arg-type]
        (Outputs(np.zeros(1, np.float32), np.zeros((1, 1, 4, 4), np.float32)), "'anomaly_map': expected"),
        (Outputs(0.5, np.zeros((1, 4, 4), np.float32)), "found float"),  # type: ignore[arg-type]
    ],
)
def test_an_engine_that_answers_something_else_is_refused(outputs: Outputs, words: str) -> None:
    with pytest.raises(BackendError, match=f"fake: output .*{words}"):
        fake(outputs).run(tiny_inputs(SPEC, 1))


@on_each
def test_a_closed_engine_answers_nothing(rgbd: ModelFile, engine: CpuBackend) -> None:
    for backend in (FakeBackend(SPEC, zeros), engine(rgbd, threads=1)):
        with backend as opened:
            opened.run(tiny_inputs(SPEC, 1))
        backend.close()
        with pytest.raises(BackendError, match=f"{backend.name}: the engine was closed"):
            backend.run(tiny_inputs(SPEC, 1))


@on_each
@pytest.mark.parametrize("batch", [1, 4, -1])
def test_an_engine_takes_the_batch_of_the_file_and_no_other(
    tmp_path: Path, batch: int, engine: CpuBackend
) -> None:
    with engine(read_model_file(write_tiny_model(tmp_path, "rgbd", batch=batch))) as backend:
        assert backend.batch == batch
        for count in (1, 4):
            if batch in (count, -1):
                assert backend.run(tiny_inputs(SPEC, count)).anomaly_map.shape == (count, 4, 4)
            else:
                with pytest.raises(FrameError, match=rf"expected uint8 \[{batch}, 32"):
                    backend.run(tiny_inputs(SPEC, count))


@on_each
def test_an_engine_computes_what_numpy_computes(rgbd: ModelFile, engine: CpuBackend) -> None:
    inputs = tiny_inputs(SPEC, 1, seed=5)
    with engine(rgbd, threads=1) as backend:
        outputs = backend.run(inputs)
    distance = (inputs["image"].astype(np.float64) / 255 - 0.5) ** 2
    cells = distance.mean(axis=3) + inputs["depth"][:, 0].astype(np.float64) ** 2
    pooled = cells.reshape(1, 4, 8, 4, 8).mean(axis=(2, 4)) * inputs["foreground"][:, 0]
    np.testing.assert_allclose(outputs.anomaly_map, pooled, rtol=1e-5)
    assert outputs.score[0] == pytest.approx(pooled.max(), rel=1e-5)


@on_each
def test_answers_are_not_overwritten_by_the_next(rgbd: ModelFile, engine: CpuBackend) -> None:
    inputs, others = tiny_inputs(SPEC, 1, seed=5), tiny_inputs(SPEC, 1, seed=6)
    with engine(rgbd, threads=1) as backend:
        first = backend.run(inputs)
        kept = (first.score.copy(), first.anomaly_map.copy())
        assert not np.array_equal(backend.run(others).anomaly_map, kept[1])
    np.testing.assert_array_equal(first.score, kept[0])
    np.testing.assert_array_equal(first.anomaly_map, kept[1])


@on_each
def test_no_threads_are_no_threads(rgbd: ModelFile, engine: CpuBackend) -> None:
    with pytest.raises(UsageError, match="threads: expected at least 1, found 0"):
        engine(rgbd, threads=0)


def sealed(folder: Path, network: bytes, mode: Mode) -> ModelFile:
    """A file whose seal is right around a network that is not."""
    path = folder / "network.onnx"
    path.write_bytes(network)
    return write_model_file(folder / "model.onnx", path, tiny_manifest(tiny_spec(mode), path), None)


@on_each
def test_a_network_with_other_tensors_than_the_manifest_says_is_refused(
    tmp_path: Path, engine: CpuBackend
) -> None:
    model = sealed(tmp_path, tiny_network(tiny_spec("rgb")).SerializeToString(), "depth")
    with pytest.raises(BackendError, match=r"other tensors than its manifest says .*depth [a-z32()]+ \[1,"):
        engine(model, threads=1)
    free = sealed(tmp_path, tiny_network(tiny_spec("rgb"), -1).SerializeToString(), "rgb")
    with pytest.raises(BackendError, match="other tensors than its manifest says"):
        engine(free, threads=1)


@on_each
def test_what_an_engine_cannot_load_is_one_sentence(tmp_path: Path, engine: CpuBackend) -> None:
    network = tiny_network(tiny_spec())
    network.graph.node[-1].op_type = "NoSuchOperator"
    model = sealed(tmp_path, network.SerializeToString(), "rgb")
    with pytest.raises(BackendError, match="NoSuchOperator") as caught:
        engine(model, threads=1)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_what_fails_while_running_is_one_sentence(tmp_path: Path) -> None:
    """A shape that is read from the picture: the session opens, and grey pixels ask for an impossible one."""
    network = tiny_network(tiny_spec())
    nodes = [
        onnx.helper.make_node("Constant", [], ["flat"], value_ints=[-1]),
        onnx.helper.make_node("Cast", ["image"], ["numbers"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Reshape", ["numbers", "flat"], ["shape"]),
        onnx.helper.make_node("Constant", [], ["seven"], value_ints=[7, 7]),
        onnx.helper.make_node("Reshape", ["seven", "shape"], ["impossible"]),
        onnx.helper.make_node("ReduceSum", ["impossible"], ["sum"], keepdims=0),
        onnx.helper.make_node("Cast", ["sum"], ["extra"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Add", ["plain_score", "extra"], ["score"]),
    ]
    network.graph.node[-1].output[0] = "plain_score"
    network.graph.node.extend(nodes)
    model = sealed(tmp_path, network.SerializeToString(), "rgb")
    with OnnxRuntimeBackend(model, threads=1) as backend:
        with pytest.raises(BackendError, match="ONNX Runtime failed while running the network") as caught:
            backend.run(tiny_inputs(tiny_spec(), 1))
        assert "\n" not in str(caught.value)


def test_without_onnx_runtime_the_error_says_what_to_install(
    rgbd: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r'pip install "\.\[cpu\]"'):
        OnnxRuntimeBackend(rgbd)


def kept() -> list[Path]:
    return list(NETWORKS.path("x").parent.glob("*"))


def outputs(model: ModelFile, threads: int | None = None) -> Outputs:
    with OpenVinoBackend(model, threads=threads) as backend:
        return backend.run(tiny_inputs(SPEC, 1))


def same(one: Outputs, other: Outputs) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("damage", ["none", "a bit", "no network"])
def test_openvino_compiles_a_network_once(
    damage: str, rgbd: ModelFile, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outputs(rgbd, threads=1)
    (file,) = kept()
    if damage == "a bit":
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "no network":
        NETWORKS.keep(file.stem, b"no network")
    if damage != "none":  # compiled again, and kept
        assert same(outputs(rgbd, threads=1), first)
    assert kept() == [file]
    with monkeypatch.context() as patch:
        patch.setattr("openvino.Core.compile_model", None)
        assert same(outputs(rgbd, threads=1), first)
    outputs(rgbd, threads=2)
    assert len(kept()) == 2


def test_without_openvino_the_error_says_what_to_install(
    rgbd: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(BackendError, match=r'pip install "\.\[openvino\]"'):
        OpenVinoBackend(rgbd)


def test_the_engine_is_chosen_by_name(tiny_rgb: Path) -> None:
    for backend, name in (
        (None, "ONNX Runtime"),
        ("onnxruntime", "ONNX Runtime"),
        ("openvino", "OpenVINO 2"),
    ):
        with open_backend(tiny_rgb, threads=1, backend=backend)[1] as opened:  # type: ignore[arg-type]
            assert opened.name.startswith(name)
    with pytest.raises(
        UsageError, match=r"TensorRT runs engines, not models; build one with `ast-edge build"
    ):
        open_backend(tiny_rgb, backend="tensorrt")


def test_open_backend_checks_the_file_first(tiny_rgb: Path, tmp_path: Path) -> None:
    model, backend = open_backend(tiny_rgb, threads=1)
    with backend:
        assert backend.inputs == model.manifest.inputs
    with pytest.raises(ModelError):
        open_backend(tmp_path)
    with pytest.raises(ModelError, match="made by `ast-edge build-engine"):
        open_backend(tmp_path / "model.engine")
