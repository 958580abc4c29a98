"""The stopwatch: latency from frame to verdict, time per stage, and the load of the machine meanwhile."""

from __future__ import annotations

from ast_edge.backends.settling import settled as settled
