"""A finding about the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One fact. `what` names it, `found` says how it is, `fix` what to do, in one sentence; empty when ok.

    A note costs nothing where the thing is not wanted, a warning costs speed or frames, and with a problem
    something does not work.
    """

    level: Level
    what: str
    found: str
    fix: str = ""


def size(count: float) -> str:
    """Format a number of bytes in powers of ten, as disks are sold."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"
