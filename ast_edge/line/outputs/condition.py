"""The station's condition as numbers, for outputs without room for sentences: state and reasons."""

from __future__ import annotations

from ast_edge.line.status import AlarmKind, Obstacle, StationState, StationStatus

STATES: dict[StationState, int] = {"stopped": 0, "starting": 1, "running": 2, "stopping": 3, "paused": 4}
NOT_READY, ATTENTION = 5, 6
# Numbers are never reused: PLC programs rely on them.
OBSTACLES: dict[Obstacle, int] = {"camera": 1, "trigger": 2, "hung": 4, "ledger": 8}
GAPS = 16
ALARMS: dict[AlarmKind, int] = {"faults": 32, "rejects": 64, "stuck": 128}
OUTPUTS = 256


def state_code(status: StationStatus, condition: int) -> int:
    """Return 0 to 4 by the state; while it runs, 5 if the next part will not be judged, 6 if it will
    be and `condition` is set, and 2 only if all is well.
    """
    if status.state != "running":
        return STATES[status.state]
    if not status.ready:
        return NOT_READY
    return ATTENTION if condition else STATES["running"]


def condition_bits(status: StationStatus, *, gaps: bool, own: str) -> int:
    """Return what is wrong, one bit each; `gaps`: parts passed uncounted, `own`: the output that asks, whose
    counterpart sees for itself whether it delivers.
    """
    found = sum(bit for kind, bit in OBSTACLES.items() if kind in status.obstacles)
    alarms = sum(bit for kind, bit in ALARMS.items() if kind in status.surroundings.alarms)
    others = status.surroundings.outputs.keys() - {own}
    return found + alarms + (GAPS if gaps else 0) + (OUTPUTS if others else 0)
