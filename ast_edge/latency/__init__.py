"""The stopwatch: how long from frame to verdict, where the time goes, and what else the machine did."""

from __future__ import annotations

from ast_edge.backends.settling import settled as settled
