"""What a measurement was made on: it goes into every result file."""

from __future__ import annotations

from ast_edge.machine.facts import facts

__all__ = ["facts"]
