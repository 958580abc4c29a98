"""Facts about the machine of a measurement, included in every result file."""

from __future__ import annotations

from ast_edge.machine.facts import facts

__all__ = ["facts"]
