"""Measurements of accuracy and speed; a command runs as `python -m benchmarks.<room>.<module>`."""

import ast_edge  # noqa: F401  (it switches the engine libraries' telemetry off before one of them is loaded)
