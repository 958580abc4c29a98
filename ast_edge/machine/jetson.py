"""Parse what a Jetson reports about itself: release, power mode, clocks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ast_edge.machine.asking import ROOT

_RELEASE = re.compile(r"^# R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", re.MULTILINE)
_MODE = re.compile(r"^NV Power Mode:\s*(\S.*?)\s*$", re.MULTILINE)
_CLOCK = re.compile(r"(cpu\d+|GPU|EMC)\b.*?\bMinFreq=(\d{1,15})\s+MaxFreq=(\d{1,15})\b")
# The memory clock is held by an override; its minimum frequency stays low.
_OFF_OR_HELD = re.compile(r"\b(Online=0|FreqOverride=1)\b")


class Release(NamedTuple):
    """A Jetson Linux (L4T) release, for example 36 and "3.0"."""

    major: int
    revision: str

    def __str__(self) -> str:
        return f"Jetson Linux {self.major}.{self.revision}"


def parse_release(text: str) -> Release | None:
    """Return the release found in the text of /etc/nv_tegra_release, or None."""
    match = _RELEASE.search(text)
    return Release(int(match[1]), match[2]) if match else None


def parse_power_mode(text: str) -> str | None:
    """Return the power mode printed by `nvpmodel -q`, for example "MAXN" or "15W", or None."""
    match = _MODE.search(text)
    return match[1] if match else None


def parse_free_clocks(text: str) -> tuple[str, ...] | None:
    """Return the clocks in `jetson_clocks --show` that may drop below their maximum; None if it lists none.

    Processors that are off in this power mode are ignored.
    """
    clocks = [match for line in text.splitlines() if (match := _CLOCK.match(line))]
    free = [clock for clock in clocks if not _OFF_OR_HELD.search(clock.string)]
    return tuple(clock[1] for clock in free if int(clock[2]) < int(clock[3])) if clocks else None


def is_jetson(root: Path = ROOT) -> bool:
    """Return whether this machine is a Jetson."""
    return (root / "etc/nv_tegra_release").exists()
