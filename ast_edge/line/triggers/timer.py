"""Triggers by time: for demos, for tests, and for conveyors that move in fixed steps."""

from __future__ import annotations

import threading
import time
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from ast_edge.line.config.options import Options
from ast_edge.line.triggers.base import CLOSE_S, TriggerSink, TriggerSource, TriggerStatus
from ast_edge.line.triggers.freshness import GapMs, gap_allowed, too_long
from ast_edge.line.triggers.tap import Tap


class TimerTriggerOptions(Options):
    """`timer`: `per_s` parts per second; one noticed over `max_gap_ms` after it was due is missed."""

    kind: Literal["timer"]
    per_s: Annotated[float, Field(gt=0, le=1000)] = 1.0
    max_gap_ms: GapMs | None = None


class TimerTrigger(TriggerSource):
    """A trigger at every multiple of the period after the start."""

    def __init__(self, options: TimerTriggerOptions) -> None:
        self.name = "timer"
        self._period_ns = int(1e9 / options.per_s)
        self._closing = threading.Event()
        self._gap_ms = gap_allowed(options.max_gap_ms)
        self._triggers = self._missed = 0
        self._tap = Tap()
        self._thread = threading.Thread(target=self._run, name="ast-edge-timer", daemon=True)

    @override
    def start(self, sink: TriggerSink) -> None:
        self._tap.open(sink)
        self._thread.start()

    @property
    @override
    def status(self) -> TriggerStatus:
        return TriggerStatus(connected=self._thread.is_alive(), triggers=self._triggers, missed=self._missed)

    @override
    def close(self) -> None:
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)
        self._tap.shut()

    def _run(self) -> None:
        due = time.monotonic_ns() + self._period_ns
        while not self._closing.wait(max(due - time.monotonic_ns(), 0) / 1e9):
            self._tell(due)
            due += self._period_ns

    def _tell(self, due_ns: int) -> None:
        """Report the part due at this moment, or why it was missed."""
        if why := too_long(due_ns, time.monotonic_ns(), self._gap_ms):
            self._missed += self._tap.missed(1, self.name, why=why)
            self.report("trigger", {"trigger": self.name, "missed": 1, "why": why})
        else:
            self._triggers += self._tap.trigger(due_ns, source=self.name)
