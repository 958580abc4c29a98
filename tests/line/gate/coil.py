"""A gate with a coil and a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from ast_edge.line.gate.belt import EncoderReading
from ast_edge.line.gate.gate import Fate, Gate, GateOptions
from ast_edge.line.part import Trigger
from ast_edge.verdict.scoring import Verdict

MS = 1_000_000
START = 10_000 * MS


@dataclass
class Coil:
    """Drives a gate as an output does: wakes when asked to, writes, and records when the coil was on."""

    gate: Gate
    now: int = START
    write_ns: int = 0
    position: int = 0
    bits: int = 32
    readable: bool = True
    silent_since: int | None = None
    intervals: list[list[int]] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    def reading(self) -> EncoderReading | None:
        return EncoderReading(self.position % (1 << self.bits), self.now) if self.readable else None

    def put(
        self, number: int, verdict: Verdict, at_ns: int | None = None, encoder: int | None = None
    ) -> None:
        at = self.now if at_ns is None else at_ns
        self.gate.add(
            Trigger(number=number, at_ns=at, wall_s=0.0, encoder=encoder), verdict, self.now, self.reading()
        )
        self.drive()

    def drive(self) -> None:
        while (wanted := self.gate.step(self.now, self.reading())) is not None:
            self.now += self.write_ns
            if wanted and not self.is_on:
                self.intervals.append([self.now, -1])
            elif not wanted and self.is_on:
                self.intervals[-1][1] = self.now
            self.gate.written(self.now, on=wanted)
        for fate in self.gate.fates():
            self.fates.append(fate)
            self.places[fate.number] = self.position

    @property
    def is_on(self) -> bool:
        return bool(self.intervals) and self.intervals[-1][1] < 0

    def wait(self, ns: int, speed_per_s: float = 0.0) -> None:
        """Time passes and the conveyor moves; the gate is asked when it wants to be."""
        end, begin, start = self.now + ns, self.now, self.position
        while self.now < end:
            due = self.gate.next_ns(self.now)
            self.now = end if due is None else min(end, max(due, self.now + 1))
            self.position = start + int(speed_per_s * (self.now - begin) / 1e9)
            self.drive()

    def fate(self, number: int) -> Fate:
        (found,) = [fate for fate in self.fates if fate.number == number]
        return found

    def on_ms(self) -> list[tuple[float, float]]:
        return [((on - START) / MS, (off - START) / MS) for on, off in self.intervals]


def by_time(**options: float) -> Coil:
    return Coil(Gate(GateOptions.model_validate({"pulse_ms": 20.0, "late_ms": 10.0, **options})))


def by_encoder(bits: int = 32, position: int = 0, **options: int) -> Coil:
    numbers = {"delay_counts": 1000, "late_counts": 50, **options}
    gate = Gate(GateOptions.model_validate({"pulse_ms": 20.0, "encoder_bits": bits, **numbers}))
    return Coil(gate, bits=bits, position=position)
