"""Options of `ast-edge train` as a configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ast_edge.errors import UsageError
from ast_edge.train.backbone import describe_timm, finest_stride
from ast_edge.train.config import B5, BackboneConfig, MemoryConfig, TrainConfig, changed, preset
from ast_edge.wording import meant

AUTO = "auto"


def _leaves(content: dict[str, object], prefix: str = "") -> list[str]:
    keys = []
    for key, value in content.items():
        keys += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


# Keys of --set; the other settings have their own option, which sets more than one value.
SETTINGS = tuple(
    key for key in _leaves(preset("nano", "rgb").model_dump()) if key not in {"mode", "preset", "crop", "roi"}
)


def parse_settings(texts: Iterable[str]) -> dict[str, object]:
    """Parse `key=value`, the value as JSON if valid, else as text. UsageError names an unknown key."""
    settings: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {text}: expected KEY=VALUE, such as student.width=64.")
        if key not in SETTINGS:
            raise UsageError(
                f"--set {text}: there is no setting '{key}'; there are {', '.join(SETTINGS)}."
                f"{meant(key, SETTINGS)}"
            )
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


def configured(given: dict[str, Any]) -> TrainConfig:
    """Return the preset with the options of the command line applied."""
    rest = dict(given)
    config = preset(rest.pop("preset", "balanced"), rest.pop("mode", "rgb"))
    changes: dict[str, object] = {}
    crop = rest.pop("crop", AUTO)
    if crop != AUTO:
        changes["crop"] = dict(
            zip(("x", "y", "width", "height"), _numbers(crop, f"--crop {crop}", 4, 4), strict=True)
        )
    if "backbone" in rest:
        neighbourhood = config.backbone.neighbourhood  # of the preset, for any network
        backbone = BackboneConfig.model_validate(
            {"neighbourhood": neighbourhood} | _backbone(rest.pop("backbone"))
        )
        changes["backbone"] = backbone.model_dump()
        changes["memories"] = [memory.model_dump() for memory in _memories(config, backbone)]
    if "epochs" in rest:
        epochs = rest.pop("epochs")
        numbers = _numbers(epochs, f"--epochs {epochs}", 1, 2)
        changes["teacher.epochs"], changes["student.epochs"] = numbers[0], numbers[-1]
    return changed(config, changes | rest)


def _backbone(text: str) -> dict[str, object]:
    if text in {B5.name, B5.describe()}:
        return B5.model_dump()
    name, _, where = text.partition(":")
    if not where:
        raise UsageError(f"--backbone {text}: name the stages, as in resnet18:2,3.")
    stages = _numbers(where, f"--backbone {text}", 1, 5)
    if stages[0] < 0 or list(stages) != sorted(set(stages)):
        raise UsageError(
            f"--backbone {text}: name every stage once, from 0 and in order, as in resnet18:2,3."
        )
    return describe_timm(name, stages).model_dump(exclude={"neighbourhood"})


def _memories(config: TrainConfig, backbone: BackboneConfig) -> list[MemoryConfig]:
    """Return the preset's memories for another backbone of the network: they use its last two stages.

    A backbone cut by its blocks has no stages; only memories with their own backbone remain.
    """
    seen = {"stages": backbone.stages[-2:], "stride": finest_stride(backbone, backbone.stages[-2:])}
    return [
        memory.model_copy(update={} if memory.backbone is not None else seen)
        for memory in config.memories
        if memory.backbone is not None or backbone.stages
    ]


def _numbers(text: str, given: str, fewest: int, most: int) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not fewest <= len(numbers) <= most:
        wanted = str(most) if fewest == most else f"{fewest} to {most}"
        raise UsageError(f"{given}: expected {wanted} whole numbers separated by commas.")
    return numbers


def resumable(run: Any, given: dict[str, Any]) -> Any:
    """Return the run if the options given with --resume are those that it was started with."""
    if not run.started or not given:
        return run
    about = run.config()
    given = dict(given)
    weights = given.pop("weights", None)
    if given.get("crop") == AUTO:
        del given["crop"]  # computed again from the same pictures
    own = about.train
    asked = "seed " if weights == "seeded" else Path(weights or "").name
    if weights is not None and own.mode != "depth" and not about.weights.startswith(asked):
        raise UsageError(
            f"--weights {weights}: the run was started with {about.weights}; leave the option out."
        )
    wanted = configured({"preset": own.preset, "mode": own.mode} | given)
    for name in given:
        for key in ("teacher.epochs", "student.epochs") if name == "epochs" else (name,):
            if _setting(wanted, key) != _setting(own, key):
                option = f"--set {name}" if "." in name else "--" + name.replace("_", "-")
                raise UsageError(
                    f"{option}: differs from what {run.path} was started with; leave it out or start over."
                )
    return run


def _setting(config: TrainConfig, key: str) -> object:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
