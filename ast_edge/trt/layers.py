"""Layers of a plan from its builder's log, for machines without the GPU that could list them.

The list is the same that TensorRT's inspector gives of an engine that was opened, in another form: a line a
layer. It needs `ProfilingVerbosity.DETAILED`. Imports no TensorRT.
"""

from __future__ import annotations

import re
from typing import Any

BEGIN = "Layers:\n"
_LINE = re.compile(r"Name: (?P<name>.*?), LayerType: (?P<type>[^,]+), (?P<rest>.*)")
_TYPE = re.compile(r"Datatype: (\w+)")
_METADATA = re.compile(r", Metadata: (.*)$")
_TACTIC = re.compile(r", TacticName: ([^,]*)")


def listed(text: str) -> list[dict[str, Any]]:
    """The layers of a list, with the inspector's keys; of tensors only the types are kept."""
    matches = map(_LINE.fullmatch, text.removeprefix(BEGIN).splitlines())
    return [_layer(match) for match in matches if match]


def _layer(match: re.Match[str]) -> dict[str, Any]:
    rest = match["rest"]
    metadata, tactic = _METADATA.search(rest), _TACTIC.search(rest)
    return {
        "Name": match["name"],
        "LayerType": match["type"],
        "Inputs": _types(rest, "Inputs"),
        "Outputs": _types(rest, "Outputs"),
        "TacticName": tactic[1] if tactic else "",
        "Metadata": metadata[1] if metadata else "",
    }


def _types(rest: str, what: str) -> list[dict[str, str]]:
    """The types in `Inputs: [ { ... }, { ... }]`; a shape inside has brackets but no brace."""
    listing = re.search(rf"\b{what}: \[(?: \{{[^}}]*\}},?)*\]", rest)
    return [{"Datatype": name} for name in _TYPE.findall(listing[0] if listing else "")]
