"""Collect what `ast-edge export --precision int8` found out about models into one result file.

python -m benchmarks.accuracy.int8 MODEL.int8.onnx ... -o benchmarks/results/int8.json [--dry-run]

`--dry-run` prints the result instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ast_edge.model.onnx_file import read_model_file
from benchmarks.common import machine
from benchmarks.common.command import keep

SCHEMA_VERSION = 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    rows = []
    for path in options.models:
        manifest = read_model_file(path).manifest
        report = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        about = {"preset": manifest.preset, "mode": manifest.mode, "precision": manifest.precision}
        rows.append({**about, "model_id": manifest.model_id, **report})
    result = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": "int8",
        "command": ["ast-edge", "export", "RUN", "--precision", "int8"],
        "models": rows,
        "machine": machine.facts(),
    }
    keep(result, options.output, dry_run=options.dry_run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
