"""The cost and needs of imports, and the contents of the wheel; each case in a fresh interpreter."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import ast_edge
from tests.paths import ROOT

NOT_ON_THE_DEVICE = (
    "torch",
    "torchvision",
    "timm",
    "FrEIA",
    "onnx",
    "onnxsim",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
    "sklearn",
    "scipy",
    "matplotlib",
    "tifffile",
    "safetensors",
    "pymodbus",
    "snap7",
    "pycomm3",
    "ast_edge.train",
    "ast_edge_export",
)
# What imports TensorRT or onnx at its top; others import these when they have found them.
GPU_MODULES = ("ast_edge.trt.", "ast_edge.backends.tensorrt.")
OPTIONAL_MODULES = (
    *GPU_MODULES,
    "ast_edge.model.half_precision.",
    "ast_edge.backends.mixed_precision.",
)
HEAVY = ("numpy", "cv2", "PIL", "pydantic", "typer", "rich")
MAX_HELP_CPU_S = 0.5
MAX_WHEEL_BYTES = 1_000_000

BLOCK = """
    import importlib, json, sys

    class Blocked:
        def __init__(self, names):
            self.names = names

        def find_spec(self, name, path=None, target=None):
            if any(name == blocked or name.startswith(blocked + ".") for blocked in self.names):
                raise ModuleNotFoundError(f"{name} is blocked by this test", name=name)
            return None

    blocked, modules = json.loads(sys.argv[1])
    sys.meta_path.insert(0, Blocked(blocked))
    for module in modules:
        importlib.import_module(module)
    print(json.dumps(sorted(sys.modules)))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Measuring coverage in the child would cost the time that is measured here.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environment = {**inherited, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")])}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def loaded_after(modules: list[str], blocked: tuple[str, ...] = ()) -> set[str]:
    """Names in sys.modules after importing `modules` in a fresh interpreter with `blocked` not importable."""
    done = run("-c", textwrap.dedent(BLOCK), json.dumps([blocked, modules]))
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def runtime_modules() -> list[str]:
    files = [path.relative_to(ROOT) for path in (ROOT / "ast_edge").rglob("*.py")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    return sorted(name for name in names if not f"{name}.".startswith(("ast_edge.train.", *OPTIONAL_MODULES)))


def test_every_runtime_module_imports_without_training_and_engine_libraries() -> None:
    modules = runtime_modules()
    assert {"ast_edge", "ast_edge.cli", "ast_edge.inspector", "ast_edge.backends.onnx_runtime"} <= set(
        modules
    )
    loaded = loaded_after(modules, NOT_ON_THE_DEVICE)
    assert not loaded & set(NOT_ON_THE_DEVICE)


def test_only_the_modules_for_the_gpu_name_its_packages() -> None:
    naming = set()
    for path in (ROOT / "ast_edge").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if re.search(
            r"^\s*(import|from) (tensorrt|tensorrt_rtx)\b", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            naming.add(name)
    assert naming
    assert all(f"{name}.".startswith(GPU_MODULES) for name in naming)


def test_the_blocker_blocks() -> None:
    done = run("-c", textwrap.dedent(BLOCK), json.dumps([["json.tool"], ["json.tool"]]))
    assert "json.tool is blocked by this test" in done.stderr


def test_every_folder_of_modules_is_a_package() -> None:
    for package in (ROOT / "ast_edge", ROOT / "export" / "ast_edge_export"):
        folders = {path.parent for path in package.rglob("*.py")}
        assert folders
        assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_import_ast_edge_loads_nothing_heavy() -> None:
    assert not loaded_after(["ast_edge"]) & {*NOT_ON_THE_DEVICE, *HEAVY}


def test_import_of_the_command_line_loads_nothing_heavy_but_typer() -> None:
    assert not loaded_after(["ast_edge.cli"]) & {*NOT_ON_THE_DEVICE, "numpy", "cv2", "PIL", "pydantic"}


def cpu_s(code: str, *arguments: str) -> tuple[float, str]:
    """The CPU time that a fresh interpreter needs for `code`, and what it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("-c", code, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout


def test_help_answers_in_half_a_second() -> None:
    """Or, where what prints the help needs much of that by itself, in little more than that."""
    helps, plain = [], []
    for _ in range(3):
        seconds, shown = cpu_s("import sys; from ast_edge.cli import main; sys.exit(main())", "--help")
        assert "inspect" in shown
        helps.append(seconds)
        plain.append(cpu_s("import typer, typer.rich_utils, rich.markdown, rich.traceback")[0])
    assert min(helps) < max(MAX_HELP_CPU_S, 2.5 * min(plain))


def test_the_wheel_is_small_and_holds_both_packages(tmp_path: Path) -> None:
    done = run("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < MAX_WHEEL_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder, package in ((ROOT, "ast_edge"), (ROOT / "export", "ast_edge_export")):
        files = {str(path.relative_to(folder)) for path in (folder / package).rglob("*.py")}
        assert files
        assert files <= names
    assert wheel.name.split("-")[1] == ast_edge.__version__
    assert "ast_edge/py.typed" in names
    assert not {name for name in names if name.split("/")[0] in {"tests", "benchmarks", "export"}}
