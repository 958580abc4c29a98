"""A station that records which picture every verdict came from: `ast-edge run`, plus one output.

    python -m benchmarks.line.witness JOURNAL LINE_TOML

The pictures show the number of the part in front of the camera (`benchmarks.line.scene`). Everything else is
the unmodified product.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ast_edge.cli import main
from ast_edge.line.gate.belt import EncoderSource
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.service import assemble
from ast_edge.line.service.config import LineConfig
from ast_edge.line.status import StationView
from benchmarks.line.scene import read


class Witness(Output):
    """Writes one JSON line for every part, as soon as it has its verdict."""

    name = "witness"

    def __init__(self, journal: Path) -> None:
        self._stream = journal.open("a", encoding="ascii")
        self._report = 0

    def start(self, station: StationView) -> None:
        """Do nothing."""

    def put(self, result: PartResult) -> None:
        """Record the part's name, its verdict, and the number in its picture."""
        frame, part = result.frame, result.trigger.external_id
        pixels = None if frame is None else frame.pixels
        line = {
            "part": None if part is None else int(part),
            "encoder": result.trigger.encoder,
            "verdict": result.verdict,
            "reason": result.reason,
            "picture": None if pixels is None else read(pixels),
            "at_ns": result.trigger.at_ns,
            "decided_ns": time.monotonic_ns(),
        }
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()
        self._report += 1

    @property
    def status(self) -> OutputStatus:
        """Always well."""
        return OutputStatus(connected=True, delivered=self._report, undelivered=0, queued=0, last_error="")

    def close(self, timeout_s: float) -> None:  # noqa: ARG002 (there is nothing to wait for)
        """Close the file."""
        self._stream.close()


def install(journal: Path) -> None:
    """Add the witness to the outputs of every station that this process assembles from now on."""
    made = assemble.outputs

    def outputs(config: LineConfig, encoder: EncoderSource | None) -> list[Output]:
        return [*made(config, encoder), Witness(journal)]

    vars(assemble)["outputs"] = outputs


if __name__ == "__main__":
    install(Path(sys.argv[1]))
    sys.exit(main(["run", sys.argv[2]]))
