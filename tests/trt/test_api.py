"""Every TensorRT name that the code uses, against NVIDIA's bindings of each version.

`tests/data/tensorrt_names.json` says which names each version has, read off the bindings. Where the bindings
themselves have been dumped (`$TRT_API`, by default ~/.cache/trt-api, with `api/` and `pyi-VERSION/`) the
table is compared with them, and the type checker reads our code against their stubs.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from ast_edge.trt import flavours
from ast_edge.trt.names import ONLY_IN, VERSIONS
from tests.trt.names import PACKAGE, collect, files, names_of

ROOT = PACKAGE.parent
TABLE = ROOT / "tests" / "data" / "tensorrt_names.json"
DUMPS = Path(os.environ.get("TRT_API", Path.home() / ".cache" / "trt-api"))


@lru_cache(maxsize=1)
def table() -> dict[str, list[str]]:
    """Name -> versions that have it."""
    content: dict[str, list[str]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return content


def dump_of(version: str) -> Path:
    """The dumped names of a version, as 8.5 of 8.5.3.1; skips where there are none."""
    found = sorted((DUMPS / "api").glob(f"{version}.*.json"))
    if not found:
        pytest.skip(f"TensorRT {version}'s bindings are not dumped in {DUMPS}")
    return found[-1]


def test_the_table_has_every_name_in_the_code_and_no_other() -> None:
    assert collect() == set(table())


def test_a_name_that_some_version_lacks_is_declared_with_those_that_have_it() -> None:
    partial = {name: tuple(where) for name, where in table().items() if tuple(where) != VERSIONS}
    assert partial == ONLY_IN


def test_names_that_not_all_versions_have_are_asked_for_where_versions_differ() -> None:
    """Outside `versions.py` they are reached only through `optional`."""
    for path in files():
        if path.name != "versions.py":
            text = path.read_text(encoding="utf-8")
            direct = names_of(ast.parse(re.sub(r"[\w.]*optional\([^)]*\)", "None", text))) & set(ONLY_IN)
            assert direct <= {"IBuilderConfig.progress_monitor"}, path


def test_the_collector_sees_what_annotations_tell() -> None:
    code = """
class A:
    def __init__(self, engine: trt.ICudaEngine) -> None:
        self._engine: trt.ICudaEngine = engine
    def names(self, tensors: list[trt.ITensor]):
        engine = self._engine
        return engine.name, [t.shape for t in tensors], trt.DataType.FLOAT, optional("BuilderFlag.FP16")
"""
    assert names_of(ast.parse(code)) == {
        *("ICudaEngine", "ICudaEngine.name", "ITensor", "ITensor.shape", "DataType.FLOAT", "DataType"),
        "BuilderFlag.FP16",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_is_what_the_bindings_have(version: str) -> None:
    api = json.loads(dump_of(version).read_text(encoding="utf-8"))
    assert {name for name, where in table().items() if version in where} == {
        name for name in table() if has(api, name)
    }


@pytest.mark.usefixtures("rtx")
def test_tensorrt_for_rtx_has_every_name_that_all_versions_have() -> None:
    """As it is the newest TensorRT in most; what its versions lack is asked for with `optional`."""
    library = flavours.library()
    missing = []
    for name in table():
        found: Any = library
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            missing.append(name)
    assert set(missing) <= set(ONLY_IN)
    assert {"BuilderFlag.FP16", "NetworkDefinitionCreationFlag.EXPLICIT_BATCH"} <= set(missing)


def has(api: Any, dotted: str) -> bool:
    """Whether a dump has this name."""
    for part in dotted.split("."):
        if not isinstance(api, dict) or part not in api:
            return False
        api = api[part]
    return True


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_type_checker_agrees_with_the_bindings(version: str, tmp_path: Path) -> None:
    """Strict, against this version's stubs: it misses the names that it lacks, and nothing else."""
    stubs = DUMPS / f"pyi-{dump_of(version).stem}"
    if not stubs.is_dir():
        pytest.skip(f"there are no stubs of TensorRT {version} in {DUMPS}")
    # The stubs say of calls that may fail that they do not, so checks of their answers look unreachable.
    flags = ("--no-warn-unused-ignores", "--no-warn-unreachable", "--no-error-summary")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *flags, "--cache-dir", tmp_path, *files()],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": os.pathsep.join((str(stubs), "export", "benchmarks"))},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if ".pyi:" not in line]
    missing = {".".join(found.groups()) for line in lines if (found := _MISSING.search(line))}
    lacking = {name for name, where in ONLY_IN.items() if version not in where}
    assert missing <= lacking
    assert [line for line in lines if not _MISSING.search(line)] == []
    assert done.stderr == ""


_MISSING = re.compile(r'error: "(?:type\[)?(\w+)\]?" has no attribute "(\w+)".*\[attr-defined\]')
