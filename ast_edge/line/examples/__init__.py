"""Examples that ship with the package: line.toml for seven lines, what PLCs need, and a systemd unit."""

from __future__ import annotations

from typing import Literal

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
    if name in ("s7-db", "ethernet-ip-tags"):
        # The command line reads the names above; what these import would delay its help.
        from ast_edge.line.examples import ethernet_ip_tags, s7_db  # noqa: PLC0415

        return s7_db.source() if name == "s7-db" else ethernet_ip_tags.source()
    from importlib import resources  # noqa: PLC0415 (likewise)

    file = "ast-edge.service" if name == "service" else f"{name}.toml"
    return resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
