"""How fast a network could be at best on a machine: its layers' bytes and operations against its ceilings.

    python -m benchmarks.roofline.measure -o benchmarks/results/roofline.json [--models FOLDER] [--rounds N]
        [--measured NAME=BENCHMARK.json ...] [--keep RESULT.json]
    python -m benchmarks.roofline.measure --dry-run

The floor is the sum, over convolutions and matrix products, of the larger of two times: that of reading
inputs and weights and writing the output once, and that of the multiplications. Everything else is taken to
be fused into them for nothing. No engine is faster, unless layers share a cache or run side by side. The
cautious estimate above it fuses nothing, reaches a share of the ceilings, and starts every node on its own.

The command makes every preset's graph with random weights, of which time does not depend, measures this
machine's ceilings and the graphs on its CPU, and predicts the Jetson boards, of which none was at hand.
`--models` keeps the graphs; `--measured nano_rgb_fp32=FILE` sets the engine's time in a result of `ast-edge
benchmark` beside the floor of this CPU. `--keep RESULT` takes what was measured from an earlier result and
predicts the boards again. `--dry-run` takes tiny networks and few rounds: it shows that the
command works, and measures nothing.
"""

from __future__ import annotations

import sys

from benchmarks.roofline.bounds import Ceilings, floor_ms, report
from benchmarks.roofline.layers import Layer, layers_of

__all__ = ["Ceilings", "Layer", "floor_ms", "layers_of", "report"]


def main() -> int:
    from benchmarks.roofline import command  # noqa: PLC0415 (needs torch; the functions above do not)

    return command.main(__doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
