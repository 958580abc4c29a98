"""An output with a reject gate: the coil takes precedence over everything else."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Mapping

from ast_edge.backoff import Backoff
from ast_edge.errors import LineError
from ast_edge.line.events import Event
from ast_edge.line.gate.belt import EncoderReading, EncoderSource
from ast_edge.line.gate.gate import Fate, Gate, GateOptions
from ast_edge.line.outputs.queued import QueuedOutput
from ast_edge.line.part import PartResult

_NEVER_S = 3600.0
_NAMED = 20  # maximum number of parts listed in an event; their count is always reported


class GatedOutput(QueuedOutput):
    """The gate receives every result in `put`: neither a full queue nor slow registers delay it.

    Without a gate (`gate` None) it is a plain `QueuedOutput`. Counters: `fired`, `missed`, `untimed`, and
    `errors` of the counterpart.
    """

    def __init__(
        self,
        name: str,
        gate: GateOptions | None,
        encoder: EncoderSource | None = None,
        *,
        room: int = 1000,
    ) -> None:
        super().__init__(name, room=room, backoff=Backoff(0.05, 1.0))
        if gate is not None and gate.delay_counts is not None and encoder is None:
            raise LineError(
                f"output {name}: delay_counts needs an encoder and the trigger has none; "
                "give the trigger an encoder or use delay_ms."
            )
        self._gate = None if gate is None else Gate(gate)
        self._gate_lock = threading.Lock()
        self._encoder = encoder
        self._trouble = ""
        self._errors = 0

    @abstractmethod
    def _write_gate(self, *, on: bool) -> None:
        """Switch the coil; returns when it is confirmed, raises if it is not."""

    def put(self, result: PartResult) -> None:
        """Pass the result to the gate and queue it; never waits for the counterpart."""
        if self._gate is not None:
            reading = self._position()
            with self._gate_lock:
                self._gate.add(result.trigger, result.verdict, time.monotonic_ns(), reading)
                if self._end is not None:
                    self._gate.give_up(time.monotonic_ns())
        super().put(result)

    def note(self, event: Event) -> None:
        """Ignore events: they would take room from results."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts of parts that fired, were missed, fired untimed, and wait; errors of the counterpart."""
        if self._gate is None:
            return {"errors": self._errors}
        with self._gate_lock:
            counts = self._gate.counts
        return {
            "fired": counts.fired,
            "missed": counts.missed,
            "untimed": counts.untimed,
            "waiting": counts.waiting,
            "errors": self._errors,
        }

    def close(self, timeout_s: float) -> None:
        """Close the output; pulses due within the timeout are given, then the coil is off."""
        super().close(timeout_s)
        if self._gate is not None:
            with self._gate_lock:
                self._gate.give_up(time.monotonic_ns())
            self._tell_fates()

    def _drive_gate(self) -> float:
        """Write the coil if due; return the seconds until it is due again, at the latest."""
        gate = self._gate
        if gate is None:
            return _NEVER_S
        while (wanted := self._wanted(gate)) is not None:
            try:
                self._write_gate(on=wanted)
            except BaseException:
                with self._gate_lock:
                    gate.lost()
                raise
            with self._gate_lock:
                gate.written(time.monotonic_ns(), on=wanted)
        self._tell_fates()
        now = time.monotonic_ns()
        with self._gate_lock:
            due = gate.next_ns(now)
        return _NEVER_S if due is None else max(due - now, 0) / 1e9

    def _wanted(self, gate: Gate) -> bool | None:
        reading = self._position()
        with self._gate_lock:
            return gate.step(time.monotonic_ns(), reading)

    def _gate_lost(self) -> None:
        """Handle a lost counterpart: its coil is unknown, and parts that are too late are reported."""
        if self._gate is not None:
            with self._gate_lock:
                self._gate.step(time.monotonic_ns())
                self._gate.lost()
            self._tell_fates()

    def _gate_is_on(self) -> bool:
        """Whether the coil was left on."""
        if self._gate is None:
            return False
        with self._gate_lock:
            return self._gate.is_on

    def _busy(self) -> bool:
        if self._gate is None:
            return False
        with self._gate_lock:
            return self._gate.active

    def _position(self) -> EncoderReading | None:
        return None if self._encoder is None else self._encoder.position()

    def _note_error(self, exc: Exception) -> None:
        self._errors += 1
        super()._note_error(exc)

    def _tell_fates(self) -> None:
        """Report parts that were missed or fired untimed, and problems of the encoder."""
        assert self._gate is not None  # noqa: S101 (asked by the callers)
        with self._gate_lock:
            fates = self._gate.fates()
            trouble = self._gate.trouble(time.monotonic_ns())
        for word in ("missed", "untimed"):
            odd = [fate for fate in fates if fate.why and fate.fired == (word == "untimed")]
            if odd:
                self._tell_odd(word, odd)
        if trouble != self._trouble:
            self._trouble = trouble
            self.report("output", {"output": self.name, "encoder": trouble or "the encoder counts again"})

    def _tell_odd(self, word: str, fates: list[Fate]) -> None:
        parts = [fate.number for fate in fates[:_NAMED]]
        why = "; ".join(dict.fromkeys(fate.why for fate in fates))
        self.report("output", {"output": self.name, word: len(fates), "parts": parts, "why": why[:500]})
