"""Networks in eager PyTorch for `worker.py`, in either environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor


def build(path: Path) -> Callable[[dict[str, Tensor]], Tensor]:
    """From a recipe, JSON, a function of the network's inputs that gives the score of one picture."""
    recipe = json.loads(path.read_text(encoding="utf-8"))
    if recipe["maker"] == "anomalib":
        from benchmarks.peers import anomalib_models  # noqa: PLC0415  # each of the two environments has one of them

        peer = anomalib_models.restored(recipe, path.parent)
        return lambda inputs: peer(inputs["input"]).pred_score
    from benchmarks.peers import ast_network  # noqa: PLC0415

    network = ast_network.random_network(recipe["preset"], recipe["mode"])
    return lambda inputs: network(**inputs)[0]
