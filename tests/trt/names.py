"""Collects every name of TensorRT that the code touches, from the code.

A name is a dotted path below `tensorrt`: `trt.A.B` as written, the argument of `optional("A.B")`, and `A.b`
for an attribute `b` of anything that an annotation says is a `trt.A`: parameters, variables, attributes of
`self`, and the elements of lists of them. What no annotation tells is found by the type checker, which reads
the same code against stubs of every version (tests/trt/test_api.py).
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.paths import ROOT

PACKAGE = ROOT / "ast_edge"


def files() -> list[Path]:
    """Every module of ours that imports TensorRT."""
    return sorted(
        path for path in PACKAGE.rglob("*.py") if "import tensorrt as trt" in path.read_text(encoding="utf-8")
    )


def collect() -> set[str]:
    """All names in all files; names with underscores around them are Python's own."""
    return {name for path in files() for name in names_of(ast.parse(path.read_text(encoding="utf-8")))}


def names_of(tree: ast.Module) -> set[str]:
    """The names in one module."""
    found: set[str] = set()
    for scope in _scopes(tree):
        kinds = _kinds(scope)
        for node in ast.walk(scope):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", getattr(node.func, "attr", "")) == "optional"
            ):
                found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
            if isinstance(node, ast.Attribute):
                dotted = _dotted(node)
                owner = _dotted(node.value)
                if dotted.startswith("trt."):
                    found.add(dotted.removeprefix("trt."))
                elif owner in kinds:
                    found.add(f"{kinds[owner]}.{node.attr}")
    return {name for name in found if "__" not in name}


def _scopes(tree: ast.Module) -> list[ast.AST]:
    """Functions and classes: a class knows the attributes of `self` that its methods annotate."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)] + [tree]


def _kinds(scope: ast.AST) -> dict[str, str]:
    """Which variables and attributes are which TensorRT class."""
    kinds: dict[str, str] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.arg) and node.annotation is not None:
            _note(kinds, node.arg, node.annotation)
        if isinstance(node, ast.AnnAssign):
            _note(kinds, _dotted(node.target), node.annotation)
    for node in ast.walk(scope):
        loops = isinstance(node, ast.comprehension | ast.For) and _dotted(node.iter)
        if loops and f"{loops}[]" in kinds and isinstance(node, ast.comprehension | ast.For):
            kinds[_dotted(node.target)] = kinds[f"{loops}[]"]
        if isinstance(node, ast.Assign) and _dotted(node.value) in kinds:
            kinds |= {_dotted(target): kinds[_dotted(node.value)] for target in node.targets}
    return kinds


def _note(kinds: dict[str, str], name: str, annotation: ast.expr) -> None:
    dotted = _dotted(annotation)
    if dotted.startswith("trt."):
        kinds[name] = dotted.removeprefix("trt.")
    if isinstance(annotation, ast.Subscript) and _dotted(annotation.slice).startswith("trt."):
        kinds[f"{name}[]"] = _dotted(annotation.slice).removeprefix("trt.")


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}" if _dotted(node.value) else ""
    return ""
