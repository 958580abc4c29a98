"""The station of the storm: `ast-edge run`, and an engine that fails or hangs while a file says so.

    python -m benchmarks.line.storm_station CONTROL_FILE JOURNAL LINE_TOML

The file holds `raise`, `hang` or nothing. The journal says which picture each verdict came from, see
`benchmarks.line.witness`. Everything else is the product as it is.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from ast_edge.cameras.base import Frame
from ast_edge.cli import main
from ast_edge.errors import BackendError
from ast_edge.inspector import Inspection
from ast_edge.line.station.recipes import Recipe
from benchmarks.line.witness import install

HANG_S = 1.0


def main_with_faults() -> int:
    """Run the line of the command line's last argument."""
    control, judge = Path(sys.argv[1]), Recipe.inspect
    install(Path(sys.argv[2]))

    def judge_or_fail(recipe: Recipe, frame: Frame) -> Inspection:
        wanted = control.read_text(encoding="ascii") if control.exists() else ""
        if wanted == "raise":
            raise BackendError("storm: the engine failed")
        if wanted == "hang":
            threading.Event().wait(HANG_S)  # libfaketime spoils time.sleep
        return judge(recipe, frame)

    setattr(Recipe, "inspect", judge_or_fail)  # noqa: B010 (mypy refuses the assignment)
    return main(["run", sys.argv[3]])


if __name__ == "__main__":
    sys.exit(main_with_faults())
