"""The sidecar of an engine: accepted names, and the plan that was checked is the plan that is used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ast_edge.errors import ModelError
from ast_edge.model.engine_file import read_engine_file, sidecar_path
from ast_edge.model.seal import sealed
from tests.paths import ROOT


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "tests" / "data" / "format_2", tmp_path / "files")) / "rgb.engine"


def write_sidecar(engine: Path, **changes: object) -> None:
    """As version 0.2 seals it, with these changes."""
    content = json.loads(sidecar_path(engine).read_text(encoding="utf-8"))
    del content["digest"], content["manifest"]["digest"]
    text = sealed({**content, "format_version": 2, **changes}, indent=1) + "\n"
    sidecar_path(engine).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("source", ["", ".", "..", "a/b", "/rgb.onnx", "a\0b", "a" * 256, "ä" * 128])
def test_a_source_that_is_no_file_name_is_refused(engine: Path, source: str) -> None:
    write_sidecar(engine, source=source)
    with pytest.raises(ModelError, match="key 'source'"):
        read_engine_file(engine)


def test_the_bytes_that_were_checked_are_those_that_are_used(engine: Path) -> None:
    write_sidecar(engine)
    found = read_engine_file(engine)
    engine.write_bytes(b"another plan")
    assert found.plan == b"a plan of no TensorRT"


def test_no_byte_of_a_sidecar_changes_unseen(engine: Path) -> None:
    write_sidecar(engine)
    data = sidecar_path(engine).read_bytes()
    for place in range(0, len(data) - 1, 37):
        changed = bytearray(data)
        changed[place] ^= 1
        sidecar_path(engine).write_bytes(changed)
        with pytest.raises(ModelError):
            read_engine_file(engine)
