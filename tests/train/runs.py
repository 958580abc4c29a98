"""Small runs for the tests of training."""

from __future__ import annotations

from ast_edge.train.config import TrainConfig, changed, preset


def tiny_config(**changes: object) -> TrainConfig:
    """Of depth alone, trained within seconds on the generated product."""
    small: dict[str, object] = {
        "image_size": 64,
        "teacher.hidden": 8,
        "teacher.epochs": 2,
        "student.width": 8,
        "student.blocks": 1,
        "student.epochs": 2,
        "seed": 5,
    }
    return changed(preset("nano", "depth"), small | changes)
