"""Engines of TensorRT for RTX on stand-ins: built without a context, proven where they are opened first.

What the real library builds is in tests/trt; nothing but a GPU can show that it runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ast_edge.backends import open_backend
from ast_edge.backends.engine_build import Options
from ast_edge.backends.rtx_build import build_rtx_engine
from ast_edge.cli import main
from ast_edge.cuda.device import Device
from ast_edge.errors import BackendError, ModelError, ParityError
from ast_edge.inspector import Inspector
from ast_edge.model.engine_file import EngineFile
from ast_edge.model.engine_info import Batch
from ast_edge.model.engine_proof import proof_path
from ast_edge.model.manifest import Mode
from ast_edge.trt import flavours
from ast_edge.trt.flavours import KERNELS
from tests.standin import software_driver
from tests.standin.install import standins
from tests.standin.trt_behaviour import Behaviour
from tests.tiny import part, write_tiny_model

pytestmark = pytest.mark.driver
FP32 = Options(precision="fp32")
ADA = Device(0, "stand-in RTX 4060", "8.9", "12.8", integrated=False, memory_bytes=software_driver.MEMORY)


@pytest.fixture
def machine(kernel_library: Path, own_cache: None) -> Iterator[Behaviour]:
    """A stand-in machine with an RTX 4060; nothing on its GPU is left behind."""
    with standins(kernel_library, "1.7.1.116", ADA, rtx=True) as behaviour:
        yield behaviour


def built(folder: Path, mode: Mode = "rgb", **asked: object) -> EngineFile:
    return build_rtx_engine(write_tiny_model(folder, mode, batch=-1), None, replace(FP32, **asked))  # type: ignore[arg-type]


def kept() -> list[Path]:
    return sorted(KERNELS.path("x").parent.glob(f"*{KERNELS.suffix}"))


@pytest.mark.parametrize("mode", ["rgb", "depth", "rgbd"])
def test_the_first_open_proves_the_engine_and_the_second_finds_the_proof(
    machine: Behaviour, mode: Mode, tmp_path: Path
) -> None:
    engine = built(tmp_path, mode)
    assert machine.calls == ["SM80", "SM86", "SM89", "SM120", "SM121"]
    assert engine.path.name == "model.rtx.engine"
    assert engine.info.proven is None
    assert engine.info.rtx is not None
    assert engine.info.rtx.proof == "pending"
    assert not proof_path(engine.path).exists()
    open_backend(engine.path)[1].close()
    machine.score_factor = 1.02
    open_backend(engine.path)[1].close()  # not proven again
    machine.score_factor = 1.0
    (proof,) = json.loads(proof_path(engine.path).read_text())["proofs"]
    assert proof["plan_sha256"] == engine.info.plan.sha256
    assert proof["machine"]["gpu"] == ADA.name
    assert proof["proven"]["vectors"] == 3
    with Inspector.open(engine.path) as inspector, Inspector.open(tmp_path / "model.onnx") as onnx:
        assert inspector.engine == "TensorRT for RTX 1.7.1.116 on stand-in RTX 4060"
        for good in (True, False):
            found, expected = (each.inspect(**part(mode, good=good)) for each in (inspector, onnx))
            assert found.verdict == expected.verdict
            np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, rtol=1e-5, atol=1e-6)


def test_an_engine_that_does_not_give_the_models_scores_is_never_opened(
    machine: Behaviour, tmp_path: Path
) -> None:
    engine = built(tmp_path)
    machine.score_factor = 1.02
    with pytest.raises(ParityError, match="the engine was not opened"):
        Inspector.open(engine.path)
    assert not proof_path(engine.path).exists()


def test_a_proof_of_another_plan_gpu_or_version_is_none(
    machine: Behaviour, kernel_library: Path, tmp_path: Path
) -> None:
    engine = built(tmp_path)
    open_backend(engine.path)[1].close()
    text = proof_path(engine.path).read_text()
    assert (
        main(
            [
                "build-engine",
                str(tmp_path / "model.onnx"),
                "--for",
                "rtx",
                "--precision",
                "fp32",
                "--batch",
                "2",
            ]
        )
        == 0
    )
    machine.score_factor = 1.02
    with pytest.raises(ParityError):
        open_backend(engine.path)
    assert proof_path(engine.path).read_text() == text


def test_a_proof_that_cannot_be_written_is_refused_until_verify_wrote_it(
    machine: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tests may run as root, whom no permission stops: the write itself fails."""
    engine = built(tmp_path)

    def refuse(_target: Path, _text: str) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("ast_edge.model.sealed_file.write_text", refuse)
        with pytest.raises(ModelError, match=f"run `ast-edge verify {engine.path}` once as a user who may"):
            Inspector.open(engine.path)
    assert main(["verify", str(engine.path)]) == 0
    assert "reproduces the model" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr("ast_edge.model.sealed_file.write_text", refuse)
        Inspector.open(engine.path).close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"vectors": 3', '"vectors": 4'), "its digest does not match"),
        (lambda _: "{", "cannot be read as JSON"),
        (lambda _: " " * 70_000, "more than 65536 bytes"),
        (lambda _: "[]", "its digest does not match"),
    ],
)
def test_a_damaged_proof_is_refused(machine: Behaviour, change: object, words: str, tmp_path: Path) -> None:
    engine = built(tmp_path)
    open_backend(engine.path)[1].close()
    path = proof_path(engine.path)
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(ModelError, match=f"the engine's proof is damaged: .*{words}"):
        open_backend(engine.path)
    path.unlink()
    open_backend(engine.path)[1].close()


def test_an_engine_for_other_gpus_or_of_another_version_is_refused(
    machine: Behaviour, kernel_library: Path, tmp_path: Path
) -> None:
    model = write_tiny_model(tmp_path)
    engine = build_rtx_engine(model, None, FP32, ("8.6",))
    with pytest.raises(
        BackendError, match=r"built for GPUs of compute capability 8.6, this machine has stand-in"
    ):
        open_backend(engine.path)


def test_an_engine_of_another_version_is_refused(
    kernel_library: Path, own_cache: None, tmp_path: Path
) -> None:
    with standins(kernel_library, "1.6.1", ADA, rtx=True):
        engine = built(tmp_path)
    with (
        standins(kernel_library, "1.7.1.116", ADA, rtx=True),
        pytest.raises(BackendError, match=r"built with TensorRT for RTX 1.6.1, .*has 1.7.1.116.*--for rtx`"),
    ):
        open_backend(engine.path)


def test_what_was_compiled_is_kept_for_the_next_start(machine: Behaviour, tmp_path: Path) -> None:
    engine = built(tmp_path, batch=Batch(least=1, usual=2, most=4))  # a ranged batch has one context
    open_backend(engine.path)[1].close()
    (file,) = kept()
    key = file.stem
    assert KERNELS.read(key) == b"compiled 1"
    assert key.startswith(engine.info.plan.sha256[:24] + "-sm_89-1-7-1-116")
    assert "deserialize" not in machine.calls
    open_backend(engine.path)[1].close()
    assert machine.calls[-1] == "deserialize"
    KERNELS.keep(key, b"of another driver")
    open_backend(engine.path)[1].close()
    assert KERNELS.read(key) == b"compiled 1"


def test_without_leave_to_capture_there_is_no_graph(machine: Behaviour, tmp_path: Path) -> None:
    engine = built(tmp_path)
    machine.capturable = False
    with Inspector.open(engine.path) as inspector:
        inspector.inspect(**part("rgb", good=True))
        assert software_driver.alive().get("graphs", 0) == 0
    machine.capturable = True
    with Inspector.open(engine.path) as inspector:
        inspector.inspect(**part("rgb", good=True))
        assert software_driver.alive()["graphs"] >= 1


def test_one_process_does_not_run_both_libraries(machine: Behaviour, tmp_path: Path) -> None:
    engine = built(tmp_path)
    open_backend(engine.path)[1].close()
    with pytest.raises(BackendError, match="already uses TensorRT for RTX"):
        flavours.use(flavours.TENSORRT)
