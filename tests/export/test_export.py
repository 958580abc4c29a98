"""Export: a model is written only when ONNX Runtime reproduces PyTorch, and it is complete in itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from ast_edge.backends import open_backend
from ast_edge.backends.proof import prove
from ast_edge.cli import main
from ast_edge.data import load, open_dataset
from ast_edge.errors import ModelError, ParityError, RunError, UsageError
from ast_edge.files import sha256_file
from ast_edge.inspector import Inspector
from ast_edge.model.manifest import Mode, Precision
from ast_edge.model.onnx_file import read_model_file
from ast_edge.model.references import References, load_references, reference_path
from ast_edge.synthetic import render
from ast_edge.train.config import RESNET18, changed, preset
from ast_edge.train.evaluate import evaluate, open_model, parts_to_test
from ast_edge.train.evaluation import Evaluation
from ast_edge.train.pipeline import TrainRequest, train
from ast_edge.train.run import Run
from ast_edge_export import Exported, export_run
from ast_edge_export.export import DEFAULT
from tests.disks import small_disk
from tests.paths import ROOT
from tests.real_data import cable_gland
from tests.small import MODES, small_product, small_run, unsealed

FILES = {"model.onnx", "model.fp16.onnx", "model.reference.safetensors"}
NOT_NEEDED = (
    *("torch", "torchvision", "timm", "FrEIA", "onnx", "onnxsim", "onnxscript", "sklearn"),
    *("tifffile", "matplotlib", "scipy", "ast_edge.train", "ast_edge_export"),
)
pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")


@pytest.fixture
def copied(depth_run: Path, tmp_path: Path) -> Run:
    """Without a seal: here the proof itself is to find what was changed."""
    return Run(unsealed(Path(shutil.copytree(depth_run, tmp_path / "run"))))


# What is written


@pytest.mark.parametrize("mode", MODES)
def test_three_files_that_prove_themselves(models: dict[Mode, Path], mode: Mode) -> None:
    assert {path.name for path in models[mode].parent.iterdir()} == FILES
    for name, precision, tolerance in (("model.onnx", "fp32", 1e-4), ("model.fp16.onnx", "fp16", 1e-2)):
        file, backend = open_backend(models[mode].with_name(name))
        with backend:
            references, source = load_references(file)
            parity = prove(backend, references, file.manifest, tolerance)
        assert file.manifest.precision == precision
        assert source == str(reference_path(models[mode]))
        assert (parity.ok, parity.count, parity.flipped_verdicts) == (True, 6, 0)


@pytest.mark.parametrize("mode", MODES)
def test_the_manifest_says_what_the_run_said(models: dict[Mode, Path], mode: Mode, rgb_run: Path) -> None:
    run = Run(rgb_run.with_name(f"run-{mode}"))
    manifest = read_model_file(models[mode]).manifest
    spec = run.spec()
    assert {name: getattr(manifest, name) for name in type(spec).model_fields} == dict(spec)
    assert manifest.model_id.startswith(f"product-{mode}-{manifest.network_sha256[:12]}")
    assert manifest.reference_sha256 == sha256_file(reference_path(models[mode]))
    assert manifest.versions.keys() >= {"ast-edge", "torch", "timm", "onnx", "onnxsim", "python"}
    assert manifest.versions["python"] == run.config().versions["python"]


@pytest.mark.parametrize("mode", MODES)
def test_the_graph(models: dict[Mode, Path], mode: Mode) -> None:
    model = onnx.load(models[mode])
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}] == [17]
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}
    inputs = {"rgb": ["image"], "depth": ["depth", "foreground"], "rgbd": ["image", "depth", "foreground"]}
    assert [value.name for value in model.graph.input] == inputs[mode]
    assert [value.name for value in model.graph.output] == ["score", "anomaly_map"]
    assert {node.op_type for node in model.graph.node}.isdisjoint({"BatchNormalization", "If", "Loop"})


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_is_smaller_and_keeps_the_interface(models: dict[Mode, Path], mode: Mode) -> None:
    whole, half = (onnx.load(models[mode].with_name(name)) for name in ("model.onnx", "model.fp16.onnx"))
    assert list(whole.graph.input) == list(half.graph.input)
    assert list(whole.graph.output) == list(half.graph.output)
    sizes = [path.stat().st_size for path in (models[mode], models[mode].with_name("model.fp16.onnx"))]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("kib", [16, 1024])
def test_a_full_disk_is_named(
    depth_run: Path, tmp_path: Path, kib: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within the exporter's scratch file, and within ours."""
    with small_disk(tmp_path / "disk", kib) as disk:
        target = disk / "m.onnx"
        assert main(["export", str(depth_run), "-o", str(target)]) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert str(disk) in said
        assert "No space left on device" in said
        assert list(disk.iterdir()) == []


def test_a_second_export_is_the_same_network(
    models: dict[Mode, Path], depth_run: Path, tmp_path: Path
) -> None:
    (exported,) = export_run(depth_run, tmp_path / "again.onnx", precisions=())
    assert isinstance(exported, Exported)
    assert {path.name for path in tmp_path.iterdir()} == {"again.onnx", "again.reference.safetensors"}
    first, second = (read_model_file(path).manifest for path in (models["depth"], exported.path))
    assert first.network_sha256 == second.network_sha256
    assert first.reference_sha256 == second.reference_sha256


@pytest.mark.parametrize("batch", [4, -1])
def test_batches(depth_run: Path, tmp_path: Path, batch: int) -> None:
    exported = export_run(depth_run, tmp_path / "model.onnx", batch=batch)
    assert [made.parity.flipped_verdicts for made in exported] == [0, 0]
    for made in exported:
        file = read_model_file(made.path)
        assert file.manifest.batch == batch
        references, _ = load_references(file)
        tolerance = {"fp32": 1e-4, "fp16": 1e-2}[made.precision]
        session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
        for count in [4] if batch == 4 else [1, 2, 5]:
            rows = references.subset(list(range(count)))
            score, anomaly_map = session.run(["score", "anomaly_map"], rows.inputs)
            assert np.allclose(score, rows.score, rtol=tolerance)
            assert anomaly_map.shape == rows.anomaly_map.shape


def test_a_batch_of_pictures(rgb_run: Path, rgb_model: Path, tmp_path: Path) -> None:
    """The trunk too takes any batch, and judges a part as the model for single parts does."""
    export_run(rgb_run, tmp_path / "model.onnx", batch=-1, precisions=())
    references, _ = load_references(read_model_file(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (score,) = session.run(["score"], references.inputs)
    assert np.allclose(score, references.score, rtol=1e-4)
    picture = render(3, None, size=64).image
    with Inspector.open(tmp_path / "model.onnx") as inspector, Inspector.open(rgb_model) as alone:
        found, expected = (each.inspect(picture, colour="rgb") for each in (inspector, alone))
    assert found.score == pytest.approx(expected.score, rel=1e-4)
    assert (found.verdict, expected.threshold) == (expected.verdict, found.threshold)


# What is refused, and then leaves nothing


def assert_refused(run: Run, target: Path, message: str, precisions: Collection[Precision] = DEFAULT) -> None:
    before = {path: path.read_bytes() for path in target.parent.iterdir() if path.is_file()}
    with pytest.raises(ParityError, match=message):
        export_run(run.path, target, precisions=precisions)
    assert {path: path.read_bytes() for path in target.parent.iterdir() if path.is_file()} == before
    assert not list(target.parent.glob(".*"))


def rewrite_references(run: Run, *, score: float = 1.0, anomaly_map: float = 1.0) -> None:
    old = run.references()
    new = References(old.inputs, old.score * np.float32(score), old.anomaly_map * np.float32(anomaly_map))
    run.references_file.write_bytes(new.to_bytes())


def test_references_that_the_network_does_not_give(copied: Run, tmp_path: Path) -> None:
    rewrite_references(copied, score=1.001)
    (tmp_path / "out").mkdir()
    message = r"^model\.onnx: .*score off by 0\.001 relative \(allowed 0\.0001\), .* no model was written\.$"
    assert_refused(copied, tmp_path / "out" / "model.onnx", message)
    assert not list((tmp_path / "out").iterdir())


def test_a_weight_disturbed_after_training(copied: Run, tmp_path: Path) -> None:
    weights = load_file(copied.weights)
    weights["student.conv_out.weight"][0] += 0.02
    save_file(weights, copied.weights)
    (tmp_path / "out").mkdir()
    assert_refused(copied, tmp_path / "out" / "model.onnx", r"ONNX Runtime does not reproduce PyTorch")


def test_a_flipped_verdict_alone_is_enough(copied: Run, tmp_path: Path) -> None:
    """Scores may be within the tolerance and still lie on the other side of the threshold."""
    references = copied.references()
    content = json.loads(copied.spec_file.read_text())
    content["threshold"] |= {"value": float(references.score[0]) * (1 + 3e-5), "margin": 0.0}
    copied.spec_file.write_text(json.dumps(content))
    rewrite_references(copied, score=1 + 6e-5)
    (tmp_path / "out").mkdir()
    message = r"relative \(allowed 0\.0001\), map by .*, 1 of 6 verdicts flipped"
    assert_refused(copied, tmp_path / "out" / "model.onnx", message)


def test_half_precision_that_is_too_far_off(copied: Run, tmp_path: Path) -> None:
    """A channel that is lifted by 200 and lowered again keeps its fraction in FP32 and loses it in FP16."""
    weights = load_file(copied.weights)
    weights["student.conv_in.bias"][0] += 200.0
    weights["student.conv_out.weight"][:, 0] = 0.0
    weights["student.conv_out.weight"][:, 0, 1, 1] = 1.0
    weights["student.conv_out.bias"] -= 200.0
    for name, weight in weights.items():
        if name.startswith("student.blocks") and name.endswith("conv1.weight"):
            weight[:, 0] = 0.0
    save_file(weights, copied.weights)
    network, old = copied.load_network(), copied.references()
    with torch.inference_mode():
        score, maps = network(**{name: torch.from_numpy(array) for name, array in old.inputs.items()})
    copied.references_file.write_bytes(References(old.inputs, score.numpy(), maps.numpy()).to_bytes())
    (tmp_path / "out").mkdir()
    message = r"^model\.fp16\.onnx: .*\(allowed 0\.01\).*no model was written"
    assert_refused(copied, tmp_path / "out" / "model.onnx", message)
    (made,) = export_run(copied.path, tmp_path / "out" / "model.onnx", precisions=())
    assert made.parity.ok


def test_a_refused_export_leaves_the_earlier_model(
    copied: Run, models: dict[Mode, Path], tmp_path: Path
) -> None:
    shutil.copytree(models["depth"].parent, tmp_path / "out")
    rewrite_references(copied, score=1.001)
    assert_refused(copied, tmp_path / "out" / "model.onnx", "does not reproduce PyTorch")
    _, source = load_references(read_model_file(tmp_path / "out" / "model.onnx"))
    assert source.endswith("model.reference.safetensors")


def test_an_older_half_precision_model_does_not_stay_beside_a_new_export(
    models: dict[Mode, Path], rgb_run: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(models["depth"].parent, tmp_path / "out"))
    export_run(rgb_run, out / "model.onnx", precisions=())
    assert {path.name for path in out.iterdir()} == FILES - {"model.fp16.onnx"}
    shutil.copy(models["depth"].with_name("model.fp16.onnx"), out)
    with pytest.raises(ModelError, match=r"belong to another export than model\.fp16\.onnx"):
        load_references(read_model_file(out / "model.fp16.onnx"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model", r"must end with \.onnx"),
        ("model.engine", r"must end with \.onnx"),
        ("model.fp16.onnx", r"are for the smaller models"),
        ("model.int8.onnx", r"give the name without \.int8"),
        ("folder.onnx", "is a folder"),
        ("file/model.onnx", "the folder cannot be made"),
    ],
)
def test_a_name_that_cannot_be_a_models(depth_run: Path, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=message):
        export_run(depth_run, tmp_path / name)


def test_a_run_that_is_not_complete(copied: Run, tmp_path: Path) -> None:
    copied.spec_file.unlink()
    with pytest.raises(RunError, match="training is not complete"):
        export_run(copied.path, tmp_path / "out" / "model.onnx")
    with pytest.raises(RunError, match="is not a run folder"):
        export_run(tmp_path / "nothing", tmp_path / "out" / "model.onnx")
    assert not (tmp_path / "out").exists()


# Away from home


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_a_model_alone_verifies_by_its_embedded_vectors(
    models: dict[Mode, Path], tmp_path: Path, mode: Mode, name: str
) -> None:
    alone = Path(shutil.copy(models[mode].with_name(name), tmp_path / name))
    file, backend = open_backend(alone)
    with backend:
        references, source = load_references(file)
        parity = prove(backend, references, file.manifest, 1e-4 if name == "model.onnx" else 1e-2)
    assert source == f"embedded in {alone}"
    assert (parity.ok, parity.count) == (True, 2)
    threshold = file.manifest.threshold.value
    assert references.score[0] < threshold < references.score[1]


def test_vectors_of_another_export_are_refused(models: dict[Mode, Path], tmp_path: Path) -> None:
    shutil.copy(models["rgb"], tmp_path / "model.onnx")
    shutil.copy(reference_path(models["rgbd"]), tmp_path / "model.reference.safetensors")
    with pytest.raises(
        ModelError, match=r"model\.reference\.safetensors: these reference vectors belong to another"
    ):
        load_references(read_model_file(tmp_path / "model.onnx"))


WITHOUT_TRAINING = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in {blocked}):
            raise ModuleNotFoundError(f"{{name}} is blocked by this test", name=name)

sys.meta_path.insert(0, Blocked())
from ast_edge.cli import main
sys.exit(main())
"""


def without_training(*arguments: object) -> str:
    """Run a command where only the base dependencies and the extra `cpu` can be imported; its stdout."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            WITHOUT_TRAINING.format(blocked=NOT_NEEDED),
            *map(str, arguments),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_alone_verifies_and_inspects_without_torch(
    models: dict[Mode, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alone = Path(shutil.copy(models["rgbd"], tmp_path / "model.onnx"))
    assert "ONNX Runtime reproduces the model" in without_training("verify", alone)
    part = open_dataset(small_product(tmp_path_factory), mode="rgbd").test[0]
    overlays = tmp_path / "overlays"
    printed = without_training("inspect", alone, part.image, "--json", "--overlay", overlays)
    result = json.loads(printed)
    assert [path.suffix for path in overlays.iterdir()] == [".png"]
    loaded = load(part, "rgbd")
    with open_model(small_run(tmp_path_factory, "rgbd")) as inspector:
        expected = inspector.inspect(loaded.image, colour="rgb", depth_m=loaded.depth_m)
    assert result["verdict"] == expected.verdict
    assert result["score"] == pytest.approx(expected.score, rel=1e-4)


# Real pictures, real weights


def few_cable_glands(folder: Path) -> Path:
    """Links to some of the real parts."""
    source = cable_gland()
    counts = {"train/good": 24, "validation/good": 8, "test/good": 2}
    counts |= {f"test/{kind}": 2 for kind in ("bent", "cut", "hole", "thread")}
    for group, count in counts.items():
        for kind in ("rgb", "xyz", "gt"):
            if (source / group / kind).is_dir():
                (folder / group / kind).mkdir(parents=True)
                for path in sorted((source / group / kind).iterdir())[:count]:
                    (folder / group / kind / path.name).symlink_to(path)
    return folder


@pytest.mark.slow
@pytest.mark.data
def test_real_parts_and_weights_give_the_same_numbers_in_both_engines(tmp_path: Path) -> None:
    """Few parts, few epochs: this proves the way and the agreement, not how good the figures are."""
    data = few_cable_glands(tmp_path / "cable_gland")
    weights = cable_gland().parent.parent / "weights" / "resnet18_stages123.safetensors"
    small: dict[str, object] = {"image_size": 128, "teacher.epochs": 2, "student.epochs": 2}
    config = changed(preset("balanced", "rgbd"), small)
    assert config.backbone == RESNET18
    run = train(TrainRequest(data, tmp_path / "run", config, weights))
    assert run.config().weights.startswith(f"{weights.name}, sha256 ")
    exported = export_run(run.path, tmp_path / "model.onnx")
    assert [made.parity.ok for made in exported] == [True, True]
    found: list[Evaluation] = []
    for path in (run.path, tmp_path / "model.onnx"):
        with open_model(path) as inspector:
            found.append(evaluate(inspector, parts_to_test(data, inspector)))
    assert (found[0].good_parts, found[0].defective_parts, found[0].faults) == (2, 8, 0)
    for name in ("image_auroc", "image_ap", "pixel_auroc", "false_reject_rate", "escape_rate"):
        assert getattr(found[0], name) == pytest.approx(getattr(found[1], name), abs=5e-5), name
