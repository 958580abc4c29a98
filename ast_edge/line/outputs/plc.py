"""Verdicts to a PLC: a reject bit with the gate, and a block of fields (`ast_edge.line.outputs.block`).

What holds for every kind of PLC; how a kind reads and writes its memory is in its own module.

One request writes the result, from `id` to `sequence`, another the rest; new gaps are written before the next
result. Results that waited for a connection are written as fast as the PLC answers; a PLC that must see every
part uses its counters, or reads faster than parts arrive. Counters, `judged` and `sequence` go on from what
the PLC holds when the station starts, and are written as absolute numbers, so that nothing is lost or doubled
by a broken connection.

A block belongs to one station. If it contains another's id, the station waits and watches for two seconds, or
three heartbeats if that is longer; if the other is alive, this station writes neither block nor reject bit,
and reports that. So after a kill the bit may stay unchanged for that long.

The reject bit is written before the block, and the gate is checked before each request, so a pulse begins and
ends at most one request late. The PLC itself must put the gate into its safe state when the heartbeat stops,
because a station without power cannot switch it off. After a lost connection the bit is written at once, off
unless a part is due. At the end results and pulses due within the timeout are written, then the bit is off
and the state is stopped.

A PLC that is slow, absent, or answers with errors or invalid data delays only this output: each request ends
after `timeout_ms`, then the connection is made again, after growing delays of up to a second. The bit stays
off for parts whose moment has passed meanwhile: they are counted as missed and reported.
"""

from __future__ import annotations

import math
import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field as Limits
from pydantic import model_validator
from typing_extensions import Self, override

from ast_edge.errors import LineError
from ast_edge.line.config.options import Name
from ast_edge.line.gate.belt import EncoderSource
from ast_edge.line.gate.gate import GateOptions
from ast_edge.line.links.plc import PlcLink, PlcOptions
from ast_edge.line.outputs.block import CLAIM, CONDITION, COUNTERS, GAPS, RESULT, STATE, Field
from ast_edge.line.outputs.claim import Claim, station_id
from ast_edge.line.outputs.condition import condition_bits, state_code
from ast_edge.line.outputs.gated import GatedOutput
from ast_edge.line.outputs.reasons import reason_code
from ast_edge.line.outputs.tally import WORD32, Tally, Totals, plc_id
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationStatus
from ast_edge.verdict.scoring import Verdict

NO_SCORE = -(1 << 31)
VERDICTS: dict[Verdict, int] = {"pass": 1, "reject": 2, "fault": 3}
# Another station may be busy, and its heartbeat slower than this one's.
_WATCHED_BEATS, _WATCHED_S = 3, 2.0
_LIFE_NS = 500_000_000


class PlcOutputOptions(PlcOptions):
    """A PLC that receives verdicts.

    `gate` determines when the reject bit is on. `score_scale`: factor applied to the score. `heartbeat_ms`:
    its period. `room`: maximum number of waiting results.
    """

    name: Name
    gate: GateOptions = GateOptions()
    score_scale: Annotated[float, Limits(gt=0, le=1e9)] = 1000.0
    heartbeat_ms: Annotated[float, Limits(ge=20, le=60_000)] = 500.0
    room: Annotated[int, Limits(ge=1, le=100_000)] = 1000

    # The keys of a kind of PLC that name its reject bit and its block.
    bit_key: ClassVar[str]
    block_key: ClassVar[str]

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not self.gated and not self.reports:
            raise ValueError(
                f"give {self.block_key}, {self.bit_key}, or both: there is nothing to write otherwise"
            )
        return self

    @property
    def gated(self) -> bool:
        """Whether there is a reject bit."""
        return getattr(self, self.bit_key) is not None

    @property
    def reports(self) -> bool:
        """Whether there is a block."""
        return getattr(self, self.block_key) is not None

    @property
    def claims(self) -> bool:
        """Whether the block has the fields from `condition` on, by which it belongs to one station."""
        return self.reports

    @property
    def judged_place(self) -> object:
        """Where the PLC finds `judged`, as a trigger of the same kind names it; None without a block."""
        raise NotImplementedError


class PlcOutput(GatedOutput):
    """Writes results and the reject bit; `encoder` is the trigger's, for a gate with `delay_counts`."""

    def __init__(
        self, options: PlcOutputOptions, link: PlcLink, encoder: EncoderSource | None = None
    ) -> None:
        gate = options.gate if options.gated else None
        super().__init__(options.name, gate, encoder, room=options.room)
        self.grace_s = 1.0 + 3 * options.timeout_ms / 1000
        self._plc_options = options
        self._plc = link
        self._tally = Tally()
        self._tally_lock = threading.Lock()
        self._waiting: dict[int, Totals] = {}
        self._before: Totals | None = None
        self._sequence = 0
        self._beat = 0
        self._next_beat_ns = self._next_life_ns = 0
        self._claim: Claim | None = None
        self._gaps_found = 0  # in the PLC at the start of the run, minus those acknowledged since
        self._gaps_written = 0
        self._gaps_known = 0  # of this run, when the state was last written
        self._proven = False  # whether the connection has lasted from one heartbeat to the next

    # ---- what a kind of PLC does ---------------------------------------------------------------------------

    @abstractmethod
    def _read(self, fields: tuple[Field, ...]) -> list[int]:
        """Return adjoining fields of the block in one request; never negative."""

    @abstractmethod
    def _write(self, fields: tuple[Field, ...], values: Sequence[int]) -> None:
        """Write adjoining fields of the block in one request."""

    @abstractmethod
    def _write_bit(self, *, on: bool) -> None:
        """Write the reject bit; only where there is one."""

    # ---- Output --------------------------------------------------------------------------------------------

    @override
    def put(self, result: PartResult) -> None:
        with self._tally_lock:
            self._waiting[result.number] = self._tally.enter(result)
            while len(self._waiting) > self._plc_options.room + 1:
                # Its result was dropped from the queue.
                del self._waiting[next(iter(self._waiting))]
        super().put(result)

    # ---- on the output's own thread ------------------------------------------------------------------------

    def _connect(self) -> None:
        self._plc.open()
        if self._plc_options.claims:
            self._take_block()
        # First: the age of the bit's state is unknown.
        self._drive_gate()
        if self._plc_options.reports and self._before is None:
            *counts, self._sequence = self._read(COUNTERS)
            self._before = Totals(*counts)
        self._next_beat_ns, self._proven = 0, False

    def _take_block(self) -> None:
        """Claim the block. Raises LineError if another station writes it."""
        if self._claim is None:
            own = station_id(self._station().name, self.name)
            self._claim = Claim(f"PLC {self._plc.where}", own, lambda: self._read(CLAIM))
            (self._gaps_found,) = self._read((GAPS,))
            self._gaps_written = self._gaps_found
        beats_s = _WATCHED_BEATS * self._plc_options.heartbeat_ms / 1000
        self._claim.take(max(beats_s, _WATCHED_S), self._watch)

    def _watch(self, seconds: float) -> None:
        self._pause(seconds)
        if self._over():
            raise LineError(f"output {self.name}: the station stops while another's block is watched.")

    def _deliver(self, result: PartResult) -> None:
        self._drive_gate()
        if not self._plc_options.reports:
            return
        with self._tally_lock:
            totals = self._waiting.get(result.number, self._tally.totals)
        if self._station().gaps != self._gaps_known:
            self._heartbeat()  # `judged` must not skip parts before `gaps` shows it
        sequence = (self._sequence + 1) % WORD32
        self._write(RESULT, self._result(result, totals, sequence))
        self._sequence = sequence
        with self._tally_lock:
            self._waiting.pop(result.number, None)

    def _tick(self) -> float:
        wait_s = self._drive_gate()
        now = time.monotonic_ns()
        if now >= self._next_beat_ns:
            self._next_beat_ns = now + int(self._plc_options.heartbeat_ms * 1e6)
            self._heartbeat()
            if self._proven:
                self._backoff.reset()
            self._proven = True
        elif self._claim is not None and now >= self._next_life_ns:
            self._claim.check()
            self._write_claim(self._claim)
        due_ns = self._next_beat_ns if self._claim is None else min(self._next_beat_ns, self._next_life_ns)
        return min(wait_s, max(due_ns - time.monotonic_ns(), 0) / 1e9)

    def _write_claim(self, claim: Claim) -> None:
        """Show between two heartbeats that the block is taken."""
        self._next_life_ns = time.monotonic_ns() + _LIFE_NS
        self._write(CLAIM, claim.next_values())

    def _write_gate(self, *, on: bool) -> None:
        if self._plc_options.gated:
            self._write_bit(on=on)

    def _disconnect(self) -> None:
        try:
            # An error has closed the link; this is the orderly end, unless the block belongs to another
            # station.
            ours = self._plc.is_open and (self._claim is None or self._claim.held)
            if ours and self._gate_is_on():
                self._write_gate(on=False)
            if ours and self._plc_options.reports:
                values = [0, self._gaps_written, *self._claim.released()] if self._claim is not None else []
                self._write_state(0, values)
        finally:
            self._plc.close()
            self._gate_lost()

    def _heartbeat(self) -> None:
        """Update the heartbeat, which tests the connection; without a block write the bit again."""
        if not self._plc_options.reports:
            self._write_gate(on=self._gate_is_on())
            return
        status = self._station()
        gaps = status.gaps if self._claim is None else self._gaps(status.gaps)
        condition = condition_bits(status, gaps=gaps > 0, own=self.name)
        if status.ready:
            self._beat = (self._beat + 1) & 0xFFFF
        more: list[int] = []
        if self._claim is not None:
            self._claim.check()
            more = [condition, gaps, *self._claim.next_values()]
            self._next_life_ns = time.monotonic_ns() + _LIFE_NS
        self._write_state(state_code(status, condition), more)
        self._gaps_written, self._gaps_known = gaps, status.gaps

    def _write_state(self, state: int, more: Sequence[int]) -> None:
        """Write heartbeat and state, and `more`: the fields after them, where the block has them."""
        fields = (*STATE, *CONDITION, *CLAIM) if more else STATE
        self._write(fields, [self._beat, state, *more])

    def _gaps(self, counted: int) -> int:
        """Return the gaps that the PLC has not acknowledged; `counted` of them are of this run."""
        (held,) = self._read((GAPS,))
        if held == 0 and self._gaps_written:
            self._gaps_found = -counted
        return min(self._gaps_found + counted, 0xFFFF)

    def _station(self) -> StationStatus:
        assert self.station is not None  # noqa: S101 (set before the thread starts)
        return self.station.status()

    def _result(self, result: PartResult, totals: Totals, sequence: int) -> list[int]:
        """Return the fields from `id` to `sequence`."""
        before = self._before or Totals()
        # Until this run has judged a numbered part, the value of the previous run stays valid.
        judged = before.judged if totals.judged is None else totals.judged
        return [
            plc_id(result),
            VERDICTS[result.verdict],
            reason_code(result.verdict, result.reason),
            scaled(result.score, self._plc_options.score_scale),
            (before.passed + totals.passed) % WORD32,
            (before.rejected + totals.rejected) % WORD32,
            (before.faults + totals.faults) % WORD32,
            judged or 0,
            sequence,
        ]


def scaled(score: float, scale: float) -> int:
    """Return the score as a signed 32-bit number: saturated, `NO_SCORE` if it is not finite."""
    if not math.isfinite(score):
        return NO_SCORE
    most = (1 << 31) - 1
    return round(max(min(score * scale, most), -most))
