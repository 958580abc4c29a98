"""Examples that ship with the package: line.toml for five lines, and a systemd unit."""

from __future__ import annotations

from importlib import resources
from typing import Literal

Example = Literal["demo", "folder", "gige-modbus", "csi-gpio", "realsense", "service"]


def read_example(name: Example) -> str:
    """The text of an example."""
    file = "ast-edge.service" if name == "service" else f"{name}.toml"
    return resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
