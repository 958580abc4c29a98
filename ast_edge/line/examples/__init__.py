"""Examples that ship with the package: line.toml for seven lines, what PLCs need, and a systemd unit."""

from __future__ import annotations

from importlib import resources
from typing import Literal

from ast_edge.line.examples import ethernet_ip_tags, s7_db

Example = Literal[
    "demo",
    "folder",
    "gige-modbus",
    "csi-gpio",
    "pylon",
    "realsense",
    "s7",
    "s7-db",
    "ethernet-ip",
    "ethernet-ip-tags",
    "service",
]


def read_example(name: Example) -> str:
    """The text of an example."""
    if name == "s7-db":
        return s7_db.source()
    if name == "ethernet-ip-tags":
        return ethernet_ip_tags.source()
    file = "ast-edge.service" if name == "service" else f"{name}.toml"
    return resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
