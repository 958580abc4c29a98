"""Providers of ONNX Runtime and devices of OpenVINO: what falls back to the CPU is refused, and named.

No GPU is needed: Azure's provider, which the CPU package of ONNX Runtime has, takes no node, and OpenVINO's
AUTO chooses the CPU where there is nothing else.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import openvino
import pytest
from onnxruntime import InferenceSession, get_available_providers

from ast_edge.backends import Engine, onnx_runtime, open_backend
from ast_edge.backends.choice import Provider, named_with_cpu
from ast_edge.cli import main
from ast_edge.errors import BackendError, UsageError
from ast_edge.model.manifest import Mode
from ast_edge.model.onnx_file import read_model_file
from tests.tiny import tiny_inputs

needs_report = pytest.mark.skipif(
    not hasattr(InferenceSession, "get_provider_graph_assignment_info"),
    reason="ONNX Runtime before 1.24, as on Python 3.10, does not report which nodes a provider takes",
)

AUTO = Engine("openvino", device="AUTO")
cpu_only = pytest.mark.skipif(
    openvino.Core().available_devices != ["CPU"], reason="OpenVINO finds other devices than the CPU"
)
without_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in get_available_providers(), reason="this ONNX Runtime has CUDA"
)


@pytest.fixture
def model(tiny_models: dict[Mode, Path]) -> Path:
    return tiny_models["rgbd"]


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> None:
    known = onnx_runtime.PROVIDERS["cuda"]._replace(
        library="AzureExecutionProvider", title="Azure", options={}
    )
    monkeypatch.setitem(onnx_runtime.PROVIDERS, "cuda", known)


@without_cuda
@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "nvtensorrtrtx"])
def test_a_provider_that_the_library_lacks(provider: Provider, model: Path) -> None:
    with pytest.raises(
        BackendError, match=r"has no \w+ExecutionProvider \(it has .*CPUExecutionProvider\); ins"
    ):
        open_backend(model, backend=Engine(provider=provider, allow_cpu=True))


@needs_report
@pytest.mark.usefixtures("azure")
def test_a_provider_that_leaves_everything_to_the_cpu_is_refused(model: Path) -> None:
    with pytest.raises(BackendError) as caught:
        open_backend(model, backend=Engine("onnxruntime", provider="cuda"))
    text = str(caught.value)
    assert text.startswith(f"{model}: ONNX Runtime with Azure leaves all nodes of the network to the CPU (")
    named = text.partition("(")[2].partition(")")[0].removesuffix(", ...").split(", ")
    types = {node.op_type for node in onnx.load(model).graph.node}
    assert len(named) == 5
    assert {name.split()[0] for name in named} <= types
    assert text.endswith("or accept that with --allow-cpu.")


@needs_report
@pytest.mark.usefixtures("azure")
def test_a_provider_that_may_fall_back_says_so_in_its_name(model: Path) -> None:
    _, engine = open_backend(model, backend=Engine("onnxruntime", provider="cuda", allow_cpu=True))
    _, plain = open_backend(model)
    with engine, plain:
        assert engine.name.startswith("ONNX Runtime with Azure (")
        count, _, total = engine.name.partition("(")[2].split()[:3]
        assert count == total
        inputs = tiny_inputs(read_model_file(model).manifest, 1)
        assert engine.run(inputs).score == plain.run(inputs).score


def test_some_nodes() -> None:
    assert named_with_cpu("X", "m.onnx", [], 9, allow_cpu=False) == "X"
    named = named_with_cpu("X", "m.onnx", ["a", "b"], 9, allow_cpu=True)
    assert named == "X (2 of 9 nodes on the CPU)"
    with pytest.raises(
        BackendError, match=r"^m\.onnx: X leaves 2 of 9 nodes of the network to the CPU \(a, b\); "
    ):
        named_with_cpu("X", "m.onnx", ["a", "b"], 9, allow_cpu=False)


@cpu_only
@pytest.mark.parametrize("device", ["AUTO", "HETERO:CPU"])
def test_a_device_that_is_the_cpu_is_refused(device: str, model: Path) -> None:
    with pytest.raises(BackendError, match=rf"on {device} leaves all nodes of the network to the CPU \(\w+ "):
        open_backend(model, backend=Engine("openvino", device=device))
    _, engine = open_backend(model, backend=Engine("openvino", device=device, allow_cpu=True))
    _, plain = open_backend(model, backend="openvino")
    with engine, plain:
        assert f" on {device} (" in engine.name
        inputs = tiny_inputs(read_model_file(model).manifest, 1)
        assert engine.run(inputs).score == pytest.approx(plain.run(inputs).score, rel=1e-5)


@cpu_only
@pytest.mark.parametrize(
    ("device", "missing"), [("GPU", "GPU"), ("HETERO:NPU,CPU", "NPU"), ("GPU.1", "GPU.1")]
)
def test_a_device_that_the_machine_lacks(device: str, missing: str, model: Path) -> None:
    words = rf"device {missing}: OpenVINO finds none on this machine \(it finds CPU\); check its driver"
    with pytest.raises(BackendError, match=words):
        open_backend(model, backend=Engine("openvino", device=device, allow_cpu=True))


def test_combinations_that_there_are_not(model: Path) -> None:
    with pytest.raises(UsageError, match="provider cuda: is for ONNX Runtime, not for openvino"):
        Engine("openvino", provider="cuda")
    with pytest.raises(UsageError, match="device GPU: is for OpenVINO"):
        Engine("onnxruntime", device="GPU")
    with pytest.raises(UsageError, match="allow-cpu: is for a provider or a device"):
        Engine(allow_cpu=True)


@cpu_only
def test_on_the_command_line(rgb_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    auto = ["verify", str(rgb_model), "--backend", "openvino", "--device", "AUTO"]
    assert main(auto) == 1
    assert "on AUTO leaves all nodes of the network to the CPU" in capsys.readouterr().err
    assert main([*auto, "--allow-cpu"]) == 0
    assert " on AUTO (" in capsys.readouterr().out
    for command in ("verify", "benchmark"):
        assert main([command, str(rgb_model), "--device", "GPU"]) == 2
        assert "device GPU: is for OpenVINO; give the backend openvino, too." in capsys.readouterr().err
