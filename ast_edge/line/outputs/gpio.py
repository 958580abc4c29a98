"""Verdicts on GPIO lines: the reject gate, signals for good parts and faults, and readiness.

`reject` is driven by the gate like the coil of a PLC. `ok` and `fault` are on for `signal_ms` after a pass
and a fault. `ready` is on while the station would judge the next part, and off as soon as it would not;
`alive` toggles every `alive_ms` while the station is ready, for a watchdog relay. At the start, at the end,
and before lines are released all of them are off.

Limits of a line: after a power cut or kill -9 the chip leaves it unchanged, so `ready` may stay on and a
pulse may not end. If that is dangerous use `alive`, and let the unit's ExecStopPost switch the lines off.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from ast_edge.line.config.options import Name, Options
from ast_edge.line.gate.belt import EncoderSource
from ast_edge.line.gate.gate import Gate, GateOptions
from ast_edge.line.links.gpio import Chip, GpioLine, LineId, output_settings, request_lines
from ast_edge.line.outputs.gated import GatedOutput
from ast_edge.line.part import PartResult
from ast_edge.verdict.scoring import Verdict

if TYPE_CHECKING:
    import gpiod

_READY_NS = 50_000_000
_SIGNALS: dict[str, Verdict] = {"ok": "pass", "fault": "fault"}


class GpioOutputOptions(Options):
    """Lines of one `chip` (/dev/gpiochip0): `reject` with its `gate`, `ok`, `fault`, `ready`, `alive`.

    At least one of them. `signal_ms`: how long `ok` and `fault` are on. `alive_ms`: half the period of
    `alive`. `room`: maximum number of waiting results.
    """

    kind: Literal["gpio"]
    name: Name = "gpio"
    chip: Chip = "/dev/gpiochip0"
    reject: GpioLine | None = None
    ok: GpioLine | None = None
    fault: GpioLine | None = None
    ready: GpioLine | None = None
    alive: GpioLine | None = None
    gate: GateOptions = GateOptions()
    signal_ms: Annotated[float, Field(ge=1, le=60_000)] = 50.0
    alive_ms: Annotated[float, Field(ge=50, le=60_000)] = 500.0
    room: Annotated[int, Field(ge=1, le=100_000)] = 1000

    @model_validator(mode="after")
    def _own_lines(self) -> GpioOutputOptions:
        taken = [line.line for line in self.lines().values()]
        if not taken or len(set(taken)) != len(taken):
            raise ValueError("give at least one of reject, ok, fault, ready, alive, each with its own line")
        return self

    def lines(self) -> dict[str, GpioLine]:
        """Return the configured lines, by purpose."""
        all_lines = {
            "reject": self.reject,
            "ok": self.ok,
            "fault": self.fault,
            "ready": self.ready,
            "alive": self.alive,
        }
        return {name: line for name, line in all_lines.items() if line is not None}


class GpioOutput(GatedOutput):
    """Drives the lines; `encoder` is the trigger's, for a gate with `delay_counts`."""

    def __init__(self, options: GpioOutputOptions, encoder: EncoderSource | None = None) -> None:
        gate = options.gate if options.reject is not None else None
        super().__init__(options.name, gate, encoder, room=options.room)
        self._options = options
        self._lines: dict[str, LineId] = {name: line.line for name, line in options.lines().items()}
        signal = GateOptions(pulse_ms=options.signal_ms)
        self._signals = {
            name: Gate(signal, (verdict,)) for name, verdict in _SIGNALS.items() if name in self._lines
        }
        self._request: gpiod.LineRequest | None = None
        self._alive = False
        self._next_alive_ns = 0

    @override
    def put(self, result: PartResult) -> None:
        now = time.monotonic_ns()
        with self._gate_lock:
            for signal in self._signals.values():
                signal.add(result.trigger, result.verdict, now)
        super().put(result)

    # ---- on the output's own thread ------------------------------------------------------------------------

    def _connect(self) -> None:
        settings = {line.line: output_settings(line) for line in self._options.lines().values()}
        self._request = request_lines(self._options.chip, settings)
        self._next_alive_ns = 0
        self._drive_gate()

    def _deliver(self, result: PartResult) -> None:  # noqa: ARG002 (the gates have it already)
        self._drive_gate()
        self._drive_signals()

    def _tick(self) -> float:
        wait_s = min(self._drive_gate(), self._drive_signals(), self._tell_ready())
        self._backoff.reset()
        return wait_s

    def _write_gate(self, *, on: bool) -> None:
        self._set("reject", on=on)

    def _drive_signals(self) -> float:
        """Return the seconds until a signal changes, at the latest."""
        due = []
        for name, signal in self._signals.items():
            with self._gate_lock:
                wanted = signal.step(time.monotonic_ns())
            if wanted is not None:
                self._set(name, on=wanted)
            now = time.monotonic_ns()
            with self._gate_lock:
                if wanted is not None:
                    signal.written(now, on=wanted)
                signal.fates()
                due.append(signal.next_ns(now))
        times = [at for at in due if at is not None]
        return max(min(times) - time.monotonic_ns(), 0) / 1e9 if times else _READY_NS / 1e9

    def _tell_ready(self) -> float:
        """Update `ready`; also detects that the chip is gone."""
        assert self.station is not None  # noqa: S101 (set before the thread starts)
        ready, now = self.station.status().ready, time.monotonic_ns()
        self._set("ready", on=ready)
        if now >= self._next_alive_ns:
            self._next_alive_ns = now + int(self._options.alive_ms * 1e6)
            self._alive = ready and not self._alive
            self._set("alive", on=self._alive)
        return min(_READY_NS, self._next_alive_ns - now) / 1e9

    def _set(self, name: str, *, on: bool) -> None:
        from gpiod.line import Value  # noqa: PLC0415 (only where GPIO is used)

        line = self._lines.get(name)
        if line is not None and self._request is not None:
            self._request.set_value(line, Value.ACTIVE if on else Value.INACTIVE)

    def _disconnect(self) -> None:
        try:
            for name in self._lines:
                self._set(name, on=False)
        finally:
            request, self._request = self._request, None
            if request is not None:
                request.release()
            self._gate_lost()
            with self._gate_lock:
                for signal in self._signals.values():
                    signal.lost()
