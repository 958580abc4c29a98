"""The choice of an engine for the CPU: measured when asked, kept beside the model, void elsewhere."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from ast_edge.backends import fastest, open_backend
from ast_edge.backends.base import Outputs
from ast_edge.backends.fastest import kept_here, measure
from ast_edge.backends.openvino import OpenVinoBackend
from ast_edge.cli import main
from ast_edge.errors import BackendError, ModelError, ParityError
from ast_edge.inspector import Inspector
from ast_edge.line.service.config import RecipesSection
from ast_edge.line.station.recipes import describe, open_recipe
from ast_edge.machine.processor import this_processor
from ast_edge.model import sealed_file
from ast_edge.model.arrays import Array
from ast_edge.model.engine_choice import Choice, write_choice
from ast_edge.model.manifest import Mode
from ast_edge.model.onnx_file import ModelFile, choice_path, read_model_file, rewrite_manifest
from tests.cli.conftest import write_part
from tests.tiny import part, write_tiny_model


@pytest.fixture
def model(tiny_models: dict[Mode, Path], tmp_path: Path) -> ModelFile:
    """A model of its own, without references beside it: the embedded one proves it."""
    return read_model_file(Path(shutil.copy(tiny_models["rgbd"], tmp_path / "model.onnx")))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "_MEASURE_S", 0.05)
    monkeypatch.setattr(fastest, "_WARM_UP_S", 0.05)


@pytest.fixture
def choice(model: ModelFile, quick: None) -> Choice:
    """What was measured, with OpenVINO as the faster one, and kept."""
    found = measure(model).model_copy(update={"chosen": "openvino"})
    write_choice(model, found)
    return found


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else find(name))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("batch", [1, 2, -1])
def test_both_engines_are_proven_and_timed(batch: int, tmp_path: Path) -> None:
    choice = measure(read_model_file(write_tiny_model(tmp_path, "rgb", batch=batch)))
    assert [one.backend for one in choice.timed] == ["onnxruntime", "openvino"]
    for one in choice.timed:
        assert 0 < one.least_ms <= one.median_ms
        assert one.proven.vectors == 3
        assert one.proven.max_relative_score_error <= one.proven.tolerance
    ours, theirs = choice.timed
    faster = theirs.median_ms <= 0.95 * ours.median_ms
    assert choice.chosen == ("openvino" if faster else "onnxruntime")
    assert choice.processor == this_processor()
    assert not choice.left_out


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("theirs_ms", "chosen"), [(96.0, "onnxruntime"), (94.0, "openvino")])
def test_a_small_difference_does_not_decide(
    theirs_ms: float, chosen: str, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"onnxruntime": [100.0] * 3, "openvino": [theirs_ms] * 3}
    monkeypatch.setattr(fastest, "_in_turns", lambda *_: times)
    assert measure(model).chosen == chosen


@pytest.mark.usefixtures("quick")
def test_an_engine_that_is_not_installed_is_left_out(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "openvino")
    choice = measure(model)
    assert choice.chosen == "onnxruntime"
    assert choice.left_out == {"openvino": "openvino is not installed"}
    write_choice(model, choice)
    assert "openvino is not installed" in str(kept_here(model).choice)
    without(monkeypatch, "openvino", "onnxruntime")
    with pytest.raises(BackendError, match="no engine is installed"):
        measure(model)


@pytest.mark.usefixtures("quick")
def test_an_engine_that_does_not_reproduce_the_model_is_not_chosen(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(OpenVinoBackend):
        def _run(self, inputs: Mapping[str, Array]) -> Outputs:
            found = super()._run(inputs)
            return Outputs(found.score * np.float32(1.01), found.anomaly_map)

    monkeypatch.setitem(fastest._OPENERS, "openvino", Wrong)
    choice = measure(model)
    assert (choice.chosen, [one.backend for one in choice.timed]) == ("onnxruntime", ["onnxruntime"])
    assert "does not reproduce the model: score off by 0.01 relative" in choice.left_out["openvino"]
    without(monkeypatch, "onnxruntime")
    with pytest.raises(
        ParityError, match=r"no engine can be chosen: onnxruntime is not installed; OpenVINO "
    ):
        measure(model)


@pytest.mark.parametrize("backend", [None, "auto"])
def test_the_choice_is_taken_where_nothing_else_is_named(
    backend: str | None, model: ModelFile, choice: Choice
) -> None:
    with Inspector.open(model.path, backend=backend) as inspector:  # type: ignore[arg-type]
        assert inspector.engine.startswith("OpenVINO")
        assert inspector.engine_choice == str(choice)
        assert inspector.inspect(**part("rgbd", good=True)).verdict == "pass"
    with Inspector.open(model.path, backend="onnxruntime") as named:
        assert (named.engine, named.engine_choice) == ("ONNX Runtime", None)


def test_without_a_measurement_onnx_runtime_is_opened_and_nothing_is_measured(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "measure", lambda _: pytest.fail("measured at open"))
    with Inspector.open(model.path) as usual, Inspector.open(model.path, backend="auto") as auto:
        assert (usual.engine, usual.engine_choice) == ("ONNX Runtime", None)
        assert auto.engine == "ONNX Runtime"
        assert auto.engine_choice == (
            "ONNX Runtime, since the engines were not measured on this machine: run "
            f"`ast-edge verify {model.path} --backend auto`"
        )
    assert not choice_path(model.path).exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _: {"network_sha256": "0" * 64}, "the engines were measured with another export"),
        (
            lambda found: {"processor": found.processor.model_copy(update={"name": "Some CPU", "cores": 1})},
            "the engines were measured on Some CPU with 1 core, not on this ",
        ),
        (
            lambda found: {"processor": found.processor.model_copy(update={"features": "0" * 16})},
            "the engines were measured on a processor of the same name with other instructions",
        ),
        (
            lambda _: {"libraries": {"onnxruntime": "1.0"}},
            "the engines were measured with onnxruntime 1.0; installed is onnxruntime ",
        ),
    ],
)
def test_a_choice_made_for_something_else_is_void_and_says_so(
    change: Callable[[Choice], dict[str, object]], why: str, model: ModelFile, choice: Choice
) -> None:
    choice_path(model.path).unlink()
    write_choice(model, choice.model_copy(update=change(choice)))
    with Inspector.open(model.path) as inspector:
        assert inspector.engine == "ONNX Runtime"
        assert (inspector.engine_choice or "").startswith(f"ONNX Runtime, since {why}")


@pytest.mark.usefixtures("choice")
def test_inspect_and_a_station_say_why(
    model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = str(kept_here(model).choice)
    inputs = part("rgbd", good=True)
    picture = write_part(tmp_path / "parts", "000", inputs["frame"], inputs["depth_m"])
    assert main(["inspect", str(model.path), str(picture)]) == 0
    assert capsys.readouterr().err == f"engine: {kept}\n"
    recipe = open_recipe(
        "product",
        model.path,
        backend=RecipesSection.model_validate(
            {"first": "product", "models": {"product": model.path}, "backend": "auto"}
        ).engine,
    )
    with recipe.inspector:
        assert describe(recipe)["engine_choice"] == kept


def test_a_new_threshold_does_not_void_it_and_a_new_export_does(tmp_path: Path, choice: Choice) -> None:
    model = read_model_file(tmp_path / "model.onnx")
    threshold = model.manifest.threshold.model_copy(update={"value": 0.2})
    rewritten = rewrite_manifest(model, model.manifest.model_copy(update={"threshold": threshold}))
    assert kept_here(rewritten).choice == choice
    write_tiny_model(tmp_path, "rgb")
    assert kept_here(read_model_file(model.path)) == (
        None,
        "the engines were measured with another export of this model",
    )


def test_machines_that_share_a_folder_keep_a_choice_each(model: ModelFile, choice: Choice) -> None:
    for cores in range(100, 120):
        other = choice.processor.model_copy(update={"cores": cores})
        write_choice(model, choice.model_copy(update={"processor": other, "chosen": "onnxruntime"}))
    kept = json.loads(choice_path(model.path).read_text())["choices"]
    assert [one["processor"]["cores"] for one in kept] == list(range(104, 120))
    write_choice(model, choice)
    assert kept_here(model).choice == choice


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"openvino"', '"onnxruntime"', 1), "its digest does not match"),
        (lambda _: "{", "cannot be read as JSON"),
        (lambda _: " " * 70_000, "more than 65536 bytes"),
    ],
)
@pytest.mark.usefixtures("choice")
def test_a_damaged_choice_is_refused(change: Callable[[str], str], words: str, model: ModelFile) -> None:
    path = choice_path(model.path)
    path.write_text(change(path.read_text()))
    with pytest.raises(ModelError, match=f"the choice of an engine is damaged: .*{words}.*; remove the file"):
        open_backend(model.path)
    open_backend(model.path, backend="openvino")[1].close()  # named: the file is not read


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_written(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_target: Path, _text: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sealed_file, "write_text", refuse)
    assert main(["verify", str(model.path), "--backend", "auto"]) == 1
    assert "the choice cannot be written (Permission denied); run" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_verify_measures_once_and_says_what_was_chosen(
    model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["verify", str(model.path), "--backend", "auto"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.err == "measuring the engines for the CPU\n"
    kept = kept_here(model).choice
    assert f"choice         {kept}\n" in said.out
    assert main([*command, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert json.loads(said.out)["engine_choice"] == str(kept)
    assert main(["info", str(model.path)]) == 0
    assert f"choice         {kept}\n" in capsys.readouterr().out
    assert main(["info", str(model.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["choice"]["chosen"] == kept.chosen if kept else None


def test_verify_measures_again_where_the_choice_is_void(
    model: ModelFile, choice: Choice, capsys: pytest.CaptureFixture[str]
) -> None:
    write_choice(model, choice.model_copy(update={"libraries": {"onnxruntime": "1.0"}}))
    assert main(["info", str(model.path)]) == 0
    assert "choice         void: the engines were measured with onnxruntime 1.0;" in capsys.readouterr().out
    assert main(["verify", str(model.path), "--backend", "auto"]) == 0
    assert capsys.readouterr().err.startswith("measuring again: the engines were measured with onnxruntime 1")
    assert kept_here(model).void is None


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_build_engine_for_the_cpu_measures_every_time(
    model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["build-engine", str(model.path), "--cpu"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "onnxruntime    ONNX Runtime: median " in said
    assert f"kept in {choice_path(model.path)}" in said
    first = kept_here(model).choice
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["timed"] != [one.model_dump() for one in first.timed] if first else None
    for option in (["-o", "x.engine"], ["--for", "tensorrt"], ["--precision", "fp16"], ["--no-verify"]):
        assert main([*command, *option]) == 2
        assert "is for engines on a GPU; leave it out with --cpu." in capsys.readouterr().err


def test_the_processor_of_an_x86_and_of_an_arm_machine(tmp_path: Path) -> None:
    file = tmp_path / "proc" / "cpuinfo"
    file.parent.mkdir()
    found = set()
    for text in (
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: avx avx2\ncpu MHz\t: 2000\n",
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: avx avx2\ncpu MHz\t: 3000\n",
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: avx avx2 avx512f\n",
        "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd42\n",
        "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0b\n",
        "",
    ):
        file.write_text(text)
        found.add(this_processor(tmp_path))
    assert len(found) == 5  # a clock is no property
    assert this_processor(tmp_path).name  # the architecture, where the system says no more
