"""Building and running engines on stand-ins: errors, order of calls, threads and memory.

What the stand-ins compute proves nothing about TensorRT; tests/gpu does that on a machine that has it.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from ast_edge.backends import open_backend
from ast_edge.backends.engine_build import Options, build_engine, layer_report, workspace_mib
from ast_edge.cuda.device import Device
from ast_edge.errors import BackendError, FrameError, ParityError, UsageError
from ast_edge.inspector import Inspector
from ast_edge.model.engine_file import kernels_path, read_engine_file, sidecar_path
from ast_edge.model.engine_info import Batch, BuiltFor
from ast_edge.model.manifest import Mode
from ast_edge.model.onnx_file import read_model_file
from tests.standin import software_driver
from tests.standin.install import GPU, standins
from tests.standin.trt_behaviour import Behaviour
from tests.tiny import flat_part, grey, part, white, write_tiny_model

pytestmark = pytest.mark.driver
FP32 = Options(precision="fp32")


@pytest.fixture(params=["rgb", "depth", "rgbd"])
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


def test_an_engine_is_built_proven_and_opened(machine: Behaviour, mode: Mode, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, mode, batch=-1)
    engine = build_engine(model, None, FP32)
    assert engine.path == model.with_suffix(".engine")
    assert {path.name for path in (sidecar_path(engine.path), kernels_path(engine.path))} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert engine.info.proven is not None
    assert isinstance(engine.info.built_for, BuiltFor)
    assert engine.info.built_for.gpu == GPU.name
    with Inspector.open(engine.path) as inspector, Inspector.open(model) as onnx:
        assert "TensorRT 8.6.1 on stand-in" in inspector.engine
        for good in (True, False, True):
            found, expected = (each.inspect(**part(mode, good=good)) for each in (inspector, onnx))
            assert found.verdict == expected.verdict == ("pass" if good else "reject")
            assert found.score == pytest.approx(expected.score, rel=1e-5)
            np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, rtol=1e-5, atol=1e-6)
            assert (found.levels is None) == (mode == "depth")
            assert set(found.stages_ms) == {
                *("hand_off", "copy_in", "preprocess", "engine", "copy_out", "score", "verdict")
            }


def test_one_graph_is_captured_and_replayed(machine: Behaviour, tmp_path: Path) -> None:
    engine = build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32)
    with Inspector.open(engine.path) as inspector:
        for _ in range(9):
            inspector.inspect(grey(), colour="rgb")
        assert software_driver.alive()["graphs"] == 2  # one for each of the two slots
        for size in range(41, 49):
            inspector.inspect(grey(height=size), colour="rgb")
        assert software_driver.alive()["graphs"] <= 8  # four layouts a slot are kept


def test_parts_from_many_threads_get_their_own_verdicts(machine: Behaviour, tmp_path: Path) -> None:
    engine = build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32)
    wrong: list[object] = []
    with Inspector.open(engine.path) as inspector:

        def inspect(good: bool) -> None:
            for _ in range(40):
                frame = grey() if good else white()
                found = inspector.inspect_async(frame, colour="rgb")
                frame[:] = 7  # the caller may use its memory again at once
                if found.result().verdict != ("pass" if good else "reject"):
                    wrong.append(found.result())

        threads = [threading.Thread(target=inspect, args=(index % 2 == 0,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert not software_driver.has_context()  # no caller ever had the context


def test_a_third_part_waits_for_a_free_place(machine: Behaviour, tmp_path: Path) -> None:
    engine = build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32)
    with Inspector.open(engine.path) as inspector:
        futures = [inspector.inspect_async(white(), colour="rgb") for _ in range(50)]
        assert [future.result().verdict for future in futures] == ["reject"] * 50


def test_a_range_of_batches(machine: Behaviour, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgb", batch=-1)
    engine = build_engine(model, None, Options(precision="fp32", batch=Batch(least=2, usual=3, most=4)))
    file, backend = open_backend(engine.path)
    with backend:
        assert backend.batch == -1
        for count in (2, 4, 3):
            pictures = np.full((count, *file.manifest.inputs[0].shape[1:]), 255, np.uint8)
            assert backend.run({"image": pictures}).score == pytest.approx([0.25] * count, rel=1e-2)
        with pytest.raises(FrameError, match="takes 2 to 4 parts at once, found 5"):
            backend.run({"image": np.zeros((5, *file.manifest.inputs[0].shape[1:]), np.uint8)})
    with Inspector.open(engine.path) as inspector:
        assert inspector.inspect(white(), colour="rgb").verdict == "reject"


def test_a_model_of_a_fixed_batch_takes_no_other(machine: Behaviour, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgb", batch=2)
    with pytest.raises(UsageError, match="exported for batches of 2"):
        build_engine(model, None, FP32)
    two = Options(precision="fp32", batch=Batch(least=2, usual=2, most=2))
    with Inspector.open(build_engine(model, None, two).path) as inspector:
        assert inspector.inspect(white(), colour="rgb").verdict == "reject"


def refused(machine: Behaviour, model: Path, words: str, error: type[Exception] = BackendError) -> None:
    """The build fails with these words, and leaves no file and nothing on the GPU."""
    before = {*(path.name for path in model.parent.iterdir()), "cache"}
    with pytest.raises(error, match=words):
        build_engine(model, None, FP32)
    assert {*(path.name for path in model.parent.iterdir()), "cache"} == before
    assert software_driver.alive() == {}


def test_every_parser_error_is_reported(machine: Behaviour, tmp_path: Path) -> None:
    machine.parser_errors = ["No importer registered for op: Foo", "Attribute not found: bar"]
    refused(machine, write_tiny_model(tmp_path, "rgb"), r"node 3: No importer.*Foo.*; node 3: Attribute.*bar")


def test_tensorrts_own_words_are_reported(machine: Behaviour, tmp_path: Path) -> None:
    machine.build_error = "Error Code 10: Could not find\n any implementation"
    refused(machine, write_tiny_model(tmp_path, "rgb"), "Code 10: Could not find any implementation")


def test_an_engine_with_other_scores_is_not_written(machine: Behaviour, tmp_path: Path) -> None:
    machine.score_factor = 1.01
    refused(machine, write_tiny_model(tmp_path, "rgb"), "score off by 0.01.*no engine was", ParityError)


def test_no_memory_for_a_context(machine: Behaviour, tmp_path: Path) -> None:
    machine.refuse_context = True
    refused(machine, write_tiny_model(tmp_path, "rgb"), "execution context.*out of memory")


def test_no_memory_for_buffers(machine: Behaviour, tmp_path: Path) -> None:
    software_driver.refuse_from(1)
    refused(
        machine,
        write_tiny_model(tmp_path, "rgb"),
        "memory: the NVIDIA driver.s cuMemAlloc_v2 failed .CUDA_ERROR_OUT_OF_MEMORY",
    )


def test_a_failed_rebuild_leaves_no_old_engine_that_passes_for_it(machine: Behaviour, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgb")
    before = build_engine(model, None, FP32).info
    machine.build_error = "no"
    with pytest.raises(BackendError):
        build_engine(model, None, FP32)
    assert read_engine_file(model.with_suffix(".engine")).info == before  # the old one, whole


def test_a_build_is_interrupted_by_its_monitor(kernel_library: Path, own_cache: None, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path, "rgb")
    steps: list[tuple[str, int, int]] = []

    def tell(phase: str, step: int, steps_in_all: int) -> bool:
        steps.append((phase, step, steps_in_all))
        return step < 2

    with standins(kernel_library, "10.3.0"):
        with pytest.raises(BackendError, match="it was interrupted"):
            build_engine(model, None, Options(precision="fp32", tell=tell))
        assert steps == [("Building", 1, 4), ("Building", 2, 4)]
        assert not model.with_suffix(".engine").exists()


@pytest.mark.parametrize(
    ("version", "fp32", "fp16"),
    [
        ("8.5.3", [], ["FP16", "OBEY_PRECISION_CONSTRAINTS"]),
        ("8.6.1", [], ["FP16", "OBEY_PRECISION_CONSTRAINTS"]),
        ("10.3.0", [], []),
        ("11.4.0", [], []),
    ],
)
def test_what_each_version_is_asked_for(
    kernel_library: Path, own_cache: None, model: Path, version: str, fp32: list[str], fp16: list[str]
) -> None:
    for options, expected in ((FP32, fp32), (Options(precision="fp16"), fp16)):
        with standins(kernel_library, version) as behaviour:
            build_engine(model, None, options)
            assert behaviour.flags == ["not TF32", *expected]
            with Inspector.open(model.with_suffix(".engine")) as inspector:
                assert version in inspector.engine


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(precision="fp32", optimization_level=5), "--optimization-level: TensorRT 8.5.3 cannot"),
        (Options(precision="fp32", version_compatible=True), "--version-compatible: TensorRT 8.5.3 cannot"),
        (Options(precision="fp32", hardware_compatible=True), "--hardware-compatible: TensorRT 8.5.3 cannot"),
        (Options(precision="fp32", dla_core=0), "--dla 0: this machine has 0 DLA cores"),
        (Options(precision="fp32", workspace_mib=99_999), "--workspace-mib 99999: only 8192 MiB"),
    ],
)
def test_what_a_version_or_board_cannot_do(
    kernel_library: Path, own_cache: None, tmp_path: Path, options: Options, words: str
) -> None:
    model = write_tiny_model(tmp_path, "rgb")
    with standins(kernel_library, "8.5.3"), pytest.raises(UsageError, match=words):
        build_engine(model, None, options)
    assert not model.with_suffix(".engine").exists()


def test_a_deep_learning_accelerator_takes_no_fp32(machine: Behaviour, model: Path) -> None:
    machine.dla_cores = 2
    with pytest.raises(UsageError, match="FP16 or INT8 only"):
        build_engine(model, None, Options(precision="fp32", dla_core=1))
    said: list[str] = []
    engine = build_engine(model, None, Options(dla_core=1, say=said.append))
    assert engine.info.build.dla_fallback_layers
    assert any("layers do not fit it and run on the GPU" in line for line in said)


def test_the_timing_cache_grows_and_is_shared(machine: Behaviour, tmp_path: Path) -> None:
    cache = tmp_path / "own" / "timing.cache"
    model = write_tiny_model(tmp_path, "rgb")
    for expected in (b"1", b"2"):
        build_engine(model, None, Options(precision="fp32", timing_cache=cache))
        assert cache.read_bytes() == expected
    cache.write_bytes(b"of another TensorRT")
    build_engine(model, None, Options(precision="fp32", timing_cache=cache))
    assert cache.read_bytes() == b"1"


def test_an_engine_that_fails_at_work_is_an_error_and_frees_everything(
    machine: Behaviour, tmp_path: Path
) -> None:
    engine = build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32)
    with Inspector.open(engine.path) as inspector:
        machine.refuse_execution = True
        for _ in range(3):  # more than there are slots: each is given back
            with pytest.raises(BackendError, match="TensorRT refused the execution"):
                inspector.inspect(grey(), colour="rgb")
        machine.refuse_execution = False
        assert inspector.inspect(grey(), colour="rgb").verdict == "pass"
    with pytest.raises(BackendError, match="was closed"):
        inspector.inspect(grey(), colour="rgb")
    inspector.close()


def test_a_frame_that_is_too_large_for_the_memory(machine: Behaviour, tmp_path: Path) -> None:
    engine = build_engine(write_tiny_model(tmp_path, "rgb"), None, FP32)
    with Inspector.open(engine.path) as inspector:
        software_driver.refuse_from(3 * 400 * 400)
        with pytest.raises(BackendError, match=r"memory for a frame: .*cuMemAlloc_v2 failed"):
            inspector.inspect(grey(400, 400), colour="rgb")
        assert inspector.inspect(grey(), colour="rgb").verdict == "pass"


def test_a_depth_map_that_cannot_be_used(machine: Behaviour, tmp_path: Path) -> None:
    engine = build_engine(write_tiny_model(tmp_path, "depth"), None, FP32)
    with Inspector.open(engine.path) as inspector:
        broken = flat_part()
        broken[3, 3] = -1
        with pytest.raises(FrameError, match="negative distance"):
            inspector.inspect(depth_m=broken)
        nothing = inspector.inspect(depth_m=np.full_like(broken, 0.5))
        assert (nothing.verdict, nothing.reason) == ("fault", "no part found in the depth map")


def test_integrated_memory_is_mapped_and_not_copied(
    kernel_library: Path, own_cache: None, tmp_path: Path
) -> None:
    jetson = Device(0, "Orin", "8.7", "12.2", integrated=True, memory_bytes=8 << 30)
    with standins(kernel_library, gpu=jetson):
        engine = build_engine(write_tiny_model(tmp_path, "rgbd"), None, FP32)
        with Inspector.open(engine.path) as inspector:
            parts = (part("rgbd", good=good) for good in (True, False))
            assert [inspector.inspect(**each).verdict for each in parts] == ["pass", "reject"]
            assert isinstance(engine.info.built_for, BuiltFor)
            assert engine.info.built_for.integrated


@pytest.fixture
def model(depth_model: Path, tmp_path: Path) -> Path:
    """A real exported model with its FP16 twin beside it."""
    for path in depth_model.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / depth_model.name


def test_fp16_takes_the_model_beside_or_writes_it(machine: Behaviour, model: Path) -> None:
    said: list[str] = []
    half = model.with_name("model.fp16.onnx")
    shipped = read_model_file(half).manifest
    assert build_engine(model).info.source == half.name
    half.unlink()
    engine = build_engine(model, None, Options(say=said.append))
    assert engine.info.build.precision == "fp16"
    assert any("written, model.onnx in mixed precision" in line for line in said)
    made = read_model_file(half).manifest
    assert (made.network_sha256, made.model_id) == (shipped.network_sha256, shipped.model_id)
    with pytest.raises(UsageError, match=r"no model\.int8\.onnx beside it"):
        build_engine(model, None, Options(precision="int8"))


def test_without_onnx_it_says_what_to_do(
    machine: Behaviour, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.with_name("model.fp16.onnx").unlink()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else find_spec(name))
    with pytest.raises(
        UsageError, match=r"copy model.fp16.onnx .*, `pip install onnx`, or .*--precision fp32"
    ):
        build_engine(model)


def test_layers_outside_trunk_and_student_are_held_in_fp32(machine: Behaviour, model: Path) -> None:
    from ast_edge.trt import versions  # noqa: PLC0415 (imports the stand-in)
    from tests.standin.trt import Config, Network  # noqa: PLC0415
    from tests.standin.trt_types import DataType, LayerType  # noqa: PLC0415

    network = Network(1)
    network.take(str(model.with_name("model.fp16.onnx")))
    versions.set_precision(network, Config(), "fp16", ("/trunk/body/", "/student/"))
    held = {layer.name for layer in network.layers if layer.precision is DataType.FLOAT}
    assert any("teacher" in name for name in held)
    assert not any(name.startswith(("/trunk/body/", "/student/")) for name in held)
    for layer in network.layers:
        if layer.type is LayerType.OTHER and "/Exp" in layer.name:
            assert layer.output_types == {0: DataType.FLOAT}


def test_the_layer_report(machine: Behaviour, tmp_path: Path) -> None:
    report = tmp_path / "layers.json"
    build_engine(write_tiny_model(tmp_path, "rgb"), None, Options(precision="fp32", report=report))
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["by_precision"] == {"fp16": 1}
    assert content["layers"][0]["fused"] == ["/student/Conv", "/student/Relu"]


def test_layer_reports_of_versions_that_tell_less() -> None:
    report = layer_report([{"Name": "a + b"}, {"Name": "c", "Outputs": [{"Datatype": "Float"}]}])
    assert [layer["precision"] for layer in report["layers"]] == ["other", "fp32"]
    assert [layer["fused"] for layer in report["layers"]] == [["a", "b"], ["c"]]


def test_workspace_is_half_of_what_is_free_and_bounded() -> None:
    assert workspace_mib(6 << 30, None) == 3072
    assert workspace_mib(80 << 30, None) == 4096
    assert workspace_mib(6 << 30, 6144) == 6144
    with pytest.raises(UsageError, match="only 6144 MiB"):
        workspace_mib(6 << 30, 6145)
