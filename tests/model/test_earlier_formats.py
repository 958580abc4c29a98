"""Files that version 0.1 wrote: manifests of format 2, sidecars of format 1, vectors as `.npz`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ast_edge.backends.onnx_runtime import OnnxRuntimeBackend
from ast_edge.backends.proof import SCORE_TOLERANCE, prove
from ast_edge.errors import ModelError
from ast_edge.model.engine_file import read_engine_file, rewrite_engine_manifest, sidecar_path
from ast_edge.model.manifest import FORMAT_VERSION, Mode
from ast_edge.model.onnx_file import read_model_file, rewrite_manifest
from ast_edge.model.references import load_references
from tests.paths import ROOT

FILES = ROOT / "tests" / "data" / "format_2"
MODES: tuple[Mode, ...] = ("rgb", "depth", "rgbd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FILES, tmp_path / "files"))


@pytest.mark.parametrize("beside", [True, False], ids=["vectors beside", "vectors inside"])
@pytest.mark.parametrize("mode", MODES)
def test_a_model_is_read_and_reproduces_its_vectors(folder: Path, mode: Mode, beside: bool) -> None:
    if not beside:
        (folder / f"{mode}.reference.npz").unlink()
    model = read_model_file(folder / f"{mode}.onnx")
    assert model.manifest.format_version == 2
    assert model.manifest.threshold.margin == 0
    assert model.manifest.calibration is not None
    assert model.manifest.calibration.operator == "Jörg"
    references, _ = load_references(model)
    with OnnxRuntimeBackend(model, threads=1) as engine:
        assert prove(engine, references, model.manifest, SCORE_TOLERANCE["fp32"]).ok


@pytest.mark.parametrize("mode", MODES)
def test_a_changed_manifest_is_refused(folder: Path, mode: Mode) -> None:
    path = folder / f"{mode}.onnx"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"image_size": 32', b'"image_size": 33'))
    with pytest.raises(ModelError, match="the manifest was changed after it was written"):
        read_model_file(path)


def test_a_model_gets_the_new_format_when_it_is_calibrated(folder: Path) -> None:
    old = read_model_file(folder / "rgb.onnx")
    new = rewrite_manifest(old, old.manifest.model_copy(update={"model_id": "another"}))
    assert new.manifest.format_version == FORMAT_VERSION
    assert read_model_file(new.path) == new
    load_references(new)


def test_an_engine_is_read_and_gets_the_new_format_when_it_is_calibrated(folder: Path) -> None:
    engine = read_engine_file(folder / "rgb.engine")
    assert (engine.info.format_version, engine.manifest.format_version) == (1, 2)
    new = rewrite_engine_manifest(engine, engine.manifest.model_copy(update={"model_id": "another"}))
    assert (new.info.format_version, new.manifest.format_version) == (2, FORMAT_VERSION)
    again = rewrite_engine_manifest(new, new.manifest.model_copy(update={"model_id": "a third"}))
    assert read_engine_file(folder / "rgb.engine") == again


@pytest.mark.parametrize("change", [{"built": "yesterday"}, {"digest": None}])
def test_a_changed_sidecar_is_refused(folder: Path, change: dict[str, object]) -> None:
    sidecar = sidecar_path(folder / "rgb.engine")
    content = json.loads(sidecar.read_text(encoding="utf-8"))
    sidecar.write_text(json.dumps({**content, **change}), encoding="utf-8")
    with pytest.raises(ModelError, match="it was changed after it was written"):
        read_engine_file(folder / "rgb.engine")
