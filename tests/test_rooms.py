"""The rooms of the house: which may import which. An import that runs up fails here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.paths import ROOT

# From the ground up: a room imports rooms named before it, and nothing else of this project.
FLOORS = (
    *(
        "ast_edge.version",
        "ast_edge.errors",
        "ast_edge.files",
        "ast_edge.wording",
        "ast_edge.progress",
        "ast_edge.backoff",
        "ast_edge.telemetry",
    ),
    *("ast_edge.machine", "ast_edge.model", "ast_edge.frames", "ast_edge.data", "ast_edge.verdict"),
    *(
        "ast_edge.cuda",
        "ast_edge.trt",
        "ast_edge.backends",
        "ast_edge.inspector",
        "ast_edge.samples",
        "ast_edge",
        "ast_edge.overlay",
        "ast_edge.pages",
    ),
    *("ast_edge.synthetic", "ast_edge.cameras"),
    *("ast_edge.line.priority", "ast_edge.line.events", "ast_edge.line.part", "ast_edge.line.status"),
    *("ast_edge.line.hub", "ast_edge.line.warned", "ast_edge.line.config", "ast_edge.line.links"),
    *("ast_edge.line.gate", "ast_edge.line.outputs", "ast_edge.line.triggers", "ast_edge.line.archive"),
    *("ast_edge.line.tables",),
    *("ast_edge.line.audit", "ast_edge.line.watching", "ast_edge.line.station", "ast_edge.line.web"),
    *("ast_edge.line.examples", "ast_edge.line.service", "ast_edge.line.collect", "ast_edge.line"),
    *("ast_edge.doctor", "ast_edge.latency", "ast_edge.compare"),
    *("ast_edge.train", "ast_edge.train.report", "ast_edge_export", "ast_edge.cli", "ast_edge.__main__"),
    *("benchmarks.common", "benchmarks.accuracy", "benchmarks.speed", "benchmarks.roofline"),
    *("benchmarks.gpu", "benchmarks.line", "benchmarks.peers", "benchmarks"),
    *("docs.generate", "examples", "examples.notebooks"),
)
# Tests are no room: they mirror all of them.
FOLDERS = ("ast_edge", "export/ast_edge_export", "benchmarks", "docs", "examples")


def name_of(path: Path) -> str:
    base = ROOT / "export" if (ROOT / "export") in path.parents else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


def room_of(module: str) -> str:
    """The folder of a module; a module at the root of `ast_edge` or of `ast_edge.line` is a room itself."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if package in {"ast_edge", "ast_edge.line"} else package


def imported(module: str) -> set[str]:
    """The modules of this project that a module imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in MODULES else node.module for name in dotted)
    return found & MODULES.keys()


def arrows() -> Iterator[tuple[str, str, str]]:
    """Every import of one room by another: the module, its room, the room it imports."""
    for module in MODULES:
        for name in imported(module):
            if room_of(name) != room_of(module):
                yield module, room_of(module), room_of(name)


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(module) for module in MODULES}
    assert rooms == set(FLOORS)


def test_no_import_runs_up() -> None:
    found = list(arrows())
    assert len(found) > 300
    upward = [arrow for arrow in found if FLOORS.index(arrow[2]) > FLOORS.index(arrow[1])]
    assert not upward


def test_no_imports_form_a_circle() -> None:
    """Also inside a room, and also where an import inside a function hides the circle from Python."""
    before = {module: imported(module) - {module} for module in MODULES}
    TopologicalSorter(before).prepare()  # CycleError names the modules


@pytest.mark.parametrize("package", FOLDERS)
def test_no_module_of_a_room_lies_beside_it(package: str) -> None:
    for folder in (ROOT / package).rglob("*"):
        if folder.is_dir() and list(folder.glob("*.py")):
            assert not folder.with_suffix(".py").exists(), folder
