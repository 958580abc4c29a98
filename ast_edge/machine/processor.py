"""Which processor this machine has: what was measured on it, or optimised for it, is for no other."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from ast_edge.machine.asking import ROOT, read
from ast_edge.machine.record import Strict

# Lines of /proc/cpuinfo that tell which instructions there are: of x86, then of ARM.
_TELLING = (
    *("flags", "cpu family", "model"),
    *("Features", "CPU implementer", "CPU architecture", "CPU variant", "CPU part"),
)


class Processor(Strict):
    """Architecture, name, number of cores, and a digest of what tells the instructions that it has."""

    architecture: str
    name: str
    cores: int
    features: str

    def __str__(self) -> str:
        return f"{self.name} with {self.cores} {'core' if self.cores == 1 else 'cores'}"


def this_processor(root: Path = ROOT) -> Processor:
    """The processor of this machine."""
    lines = [line.partition(":") for line in (read(root / "proc/cpuinfo") or "").splitlines()]
    telling = {f"{key.strip()}={text.strip()}" for key, _, text in lines if key.strip() in _TELLING}
    return Processor(
        architecture=platform.machine(),
        name=processor_name(root),
        cores=os.cpu_count() or 1,
        features=hashlib.sha256("\n".join(sorted(telling)).encode()).hexdigest()[:16],
    )


def processor_name(root: Path = ROOT) -> str:
    """Its name as the system reports it, else its architecture."""
    lines = (read(root / "proc/cpuinfo") or "").splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
