"""Triggers by the clock: for demos, for tests, and for conveyors that move in steps of fixed length."""

from __future__ import annotations

import threading
import time
from typing import Annotated, Literal

from pydantic import Field

from ast_edge.line.config.options import Options
from ast_edge.line.triggers.base import TriggerSink, TriggerSource, TriggerStatus


class TimerTriggerOptions(Options):
    """`timer`: `per_s` parts a second; a moment that a busy machine missed is a part too."""

    kind: Literal["timer"]
    per_s: Annotated[float, Field(gt=0, le=1000)] = 1.0


class TimerTrigger(TriggerSource):
    """A trigger at every multiple of the period after the start."""

    def __init__(self, options: TimerTriggerOptions) -> None:
        self.name = "timer"
        self._period_ns = int(1e9 / options.per_s)
        self._closing = threading.Event()
        self._triggers = 0
        self._sink: TriggerSink | None = None
        self._thread = threading.Thread(target=self._run, name="ast-edge-timer", daemon=True)

    def start(self, sink: TriggerSink) -> None:
        """See `TriggerSource`."""
        self._sink = sink
        self._thread.start()

    @property
    def status(self) -> TriggerStatus:
        """See `TriggerSource`."""
        return TriggerStatus(self._thread.is_alive(), self._triggers, 0, "")

    def close(self) -> None:
        """See `TriggerSource`."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic_ns() + self._period_ns
        while not self._closing.wait(max(due - time.monotonic_ns(), 0) / 1e9):
            assert self._sink is not None  # noqa: S101 (set before the thread starts)
            self._sink.trigger(source=self.name)
            self._triggers += 1
            due += self._period_ns
