"""Verdicts to a PLC over Modbus TCP: a reject coil with the gate, and a block of holding registers.

The station is the client. Register numbers are relative to the option `registers`; 32-bit values take two
registers, high word first unless `word_order` is "little":

    +0  +1   id: the number that the trigger's source gave to the part, else the part's number in this run
    +2       verdict: 1 pass, 2 reject, 3 fault
    +3       reason: 0 but for a fault, see `ast_edge.line.outputs.reasons`
    +4  +5   score times `score_scale`, signed, saturated at +-2147483647; -2147483648 where there is no score
    +6  +7   counter of passes (OK)      } of the parts up to `judged`, modulo 2^32; they go on from what the
    +8  +9   counter of rejects (NG)     } PLC holds when the station starts, and are written as absolute
    +10 +11  counter of faults (FAULT)   } numbers, so that nothing is lost or doubled by a broken connection
    +12 +13  judged: the id of the last part before which every part has its verdict, as long as `gaps` is 0;
             only ids from the trigger's source count here, it stays as it is where the source gives none
    +14 +15  sequence: one more for every result; the last of a result, so that a PLC that waits for its
             change finds the rest complete
    +16      heartbeat: one more every `heartbeat_ms` while the next part will be judged, also when none
             comes; it stands still while camera or trigger are away, the station is paused or hangs
    +17      state: 0 stopped, 1 starting, 2 running and all is well, 3 stopping, 4 paused, 5 running but the
             next part will not be judged, 6 running and judging but with an alarm, gaps, or an output that
             does not deliver
    +18      condition, a bit each: 1 camera away, 2 trigger away, 4 something hangs, 8 the ledger does not
             balance, 16 gaps, 32 too many faults, 64 too many rejects, 128 no rejects for long, 256 another
             output does not deliver: its counterpart is away or refuses results
    +19      gaps: how often an unknown number of parts went by unseen, a counter that jumped too far, say:
             `judged` and the counters are not whole since. It stays, over restarts of the station too,
             until the PLC sets it to 0, and again if it does not stay so: a heartbeat may be on its way
    +20 +21  the station's id, high word first always, 0 while no station runs
    +22      life: one more every `heartbeat_ms`, and at least every half second, ready or not, by which
             another station sees that the block is taken

One request writes +0 to +15, another +16 to +22; new gaps are written before the next result. Results that
waited for a connection are written as fast as the PLC answers; a PLC that must see every part uses its
counters, or reads faster than parts arrive.

A block belongs to one station. If it contains another's id, the station waits and watches for two seconds, or
three heartbeats if that is longer; if the other is alive, this station writes neither registers nor coil, and
reports that. So after a kill the coil may stay unchanged for that long. For a PLC of earlier versions with
room for only 18 registers use `block = 18`: a second station is then not detected, and gaps and the condition
are not shown.

The coil is written before the registers, and the gate is checked before each of them, so a pulse begins and
ends at most one request late. The PLC itself must put the gate into its safe state when the heartbeat stops,
because a station without power cannot switch its coil off. After a lost connection the coil is written at
once, off unless a part is due. At the end results and pulses due within the timeout are written, then the
coil is off and the state is stopped.

A PLC that is slow, absent, or answers with exceptions or invalid data delays only this output: each request
ends after `timeout_ms`, then the connection is made again, after growing delays of up to a second. The coil
stays off for parts whose moment has passed meanwhile: they are counted as missed and reported.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from ast_edge.errors import LineError
from ast_edge.line.config.options import Name
from ast_edge.line.gate.belt import EncoderSource
from ast_edge.line.gate.gate import GateOptions
from ast_edge.line.links.modbus import Address, ModbusLink, ModbusOptions, WordOrder, from_words, to_words
from ast_edge.line.outputs.claim import WORDS, Claim, station_id
from ast_edge.line.outputs.condition import condition_bits, state_code
from ast_edge.line.outputs.gated import GatedOutput
from ast_edge.line.outputs.reasons import reason_code
from ast_edge.line.outputs.tally import WORD32, Tally, Totals, plc_id
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationStatus
from ast_edge.verdict.scoring import Verdict

REGISTERS, SHORT = 23, 18  # size of the block, and of one without condition and claim
TOTALS_AT = 6
JUDGED_AT = 12
HEARTBEAT_AT = 16
GAPS_AT = 19
CLAIM_AT = 20
NO_SCORE = -(1 << 31)
_VERDICTS: dict[Verdict, int] = {"pass": 1, "reject": 2, "fault": 3}
# Another station may be busy, and its heartbeat slower than this one's.
_WATCHED_BEATS, _WATCHED_S = 3, 2.0
_LIFE_NS = 500_000_000


class ModbusOutputOptions(ModbusOptions):
    """A PLC that receives verdicts, in registers, by a coil, or both.

    `registers`: the first of the block of 23. `coil`: the reject coil. `block`: 18 omits the registers after
    the state. `gate` determines when the coil is on. `score_scale`: factor applied to the score.
    `word_order`: which half of a 32-bit value comes first. `heartbeat_ms`: its period. `room`: maximum number
    of waiting results.
    """

    kind: Literal["modbus"]
    name: Name = "modbus"
    registers: Annotated[int, Field(ge=0, le=65_536 - SHORT)] | None = None
    block: Literal[18, 23] = 23
    coil: Address | None = None
    gate: GateOptions = GateOptions()
    score_scale: Annotated[float, Field(gt=0, le=1e9)] = 1000.0
    word_order: WordOrder = "big"
    heartbeat_ms: Annotated[float, Field(ge=20, le=60_000)] = 500.0
    room: Annotated[int, Field(ge=1, le=100_000)] = 1000

    @model_validator(mode="after")
    def _something_to_do(self) -> ModbusOutputOptions:
        if self.registers is None and self.coil is None:
            raise ValueError("give registers, coil, or both: there is nothing to write otherwise")
        if self.registers is not None and self.registers + self.block > 65_536:
            raise ValueError(f"registers = {self.registers} leaves no room for {self.block} registers")
        return self


class ModbusOutput(GatedOutput):
    """Writes results and the coil; `encoder` is the trigger's, for a gate with `delay_counts`."""

    def __init__(self, options: ModbusOutputOptions, encoder: EncoderSource | None = None) -> None:
        gate = options.gate if options.coil is not None else None
        super().__init__(options.name, gate, encoder, room=options.room)
        self.grace_s = 1.0 + 3 * options.timeout_ms / 1000
        self._options = options
        self._link = ModbusLink(options)
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

    @override
    def put(self, result: PartResult) -> None:
        with self._tally_lock:
            self._waiting[result.number] = self._tally.enter(result)
            while len(self._waiting) > self._options.room + 1:
                # Its result was dropped from the queue.
                del self._waiting[next(iter(self._waiting))]
        super().put(result)

    # ---- on the output's own thread ------------------------------------------------------------------------

    def _connect(self) -> None:
        self._link.open()
        if self._options.registers is not None:
            self._take_block(self._options.registers)
        # First: the age of the coil's state is unknown.
        self._drive_gate()
        if self._options.registers is not None and self._before is None:
            self._before, self._sequence = self._found(self._options.registers)
        self._next_beat_ns, self._proven = 0, False

    def _take_block(self, address: int) -> None:
        """Claim the block. Raises LineError if another station writes it."""
        if self._options.block == SHORT:
            return
        if self._claim is None:
            own = station_id(self._station().name, self.name)
            where, link = f"PLC {self._link.where}", self._link
            self._claim = Claim(where, own, lambda: link.read_registers("holding", address + CLAIM_AT, WORDS))
            (self._gaps_found,) = self._link.read_registers("holding", address + GAPS_AT, 1)
            self._gaps_written = self._gaps_found
        beats_s = _WATCHED_BEATS * self._options.heartbeat_ms / 1000
        self._claim.take(max(beats_s, _WATCHED_S), self._watch)

    def _watch(self, seconds: float) -> None:
        self._pause(seconds)
        if self._over():
            raise LineError(f"output {self.name}: the station stops while another's registers are watched.")

    def _deliver(self, result: PartResult) -> None:
        self._drive_gate()
        if self._options.registers is None:
            return
        with self._tally_lock:
            totals = self._waiting.get(result.number, self._tally.totals)
        if self._station().gaps != self._gaps_known:
            self._heartbeat()  # `judged` must not skip parts before `gaps` shows it
        sequence = (self._sequence + 1) % WORD32
        self._link.write_registers(self._options.registers, self._block(result, totals, sequence))
        self._sequence = sequence
        with self._tally_lock:
            self._waiting.pop(result.number, None)

    def _tick(self) -> float:
        wait_s = self._drive_gate()
        now = time.monotonic_ns()
        if now >= self._next_beat_ns:
            self._next_beat_ns = now + int(self._options.heartbeat_ms * 1e6)
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
        assert self._options.registers is not None  # noqa: S101 (only a block is claimed)
        self._next_life_ns = time.monotonic_ns() + _LIFE_NS
        self._link.write_registers(self._options.registers + CLAIM_AT, claim.next_words())

    def _write_gate(self, *, on: bool) -> None:
        if self._options.coil is not None:
            self._link.write_coil(self._options.coil, on=on)

    def _disconnect(self) -> None:
        try:
            # An error has closed the link; this is the orderly end, unless the block belongs to another
            # station.
            ours = self._link.is_open and (self._claim is None or self._claim.held)
            if ours and self._gate_is_on():
                self._write_gate(on=False)
            if ours and self._options.registers is not None:
                words = [self._beat, 0]
                if self._claim is not None:
                    words += [0, self._gaps_written, *self._claim.released()]
                self._link.write_registers(self._options.registers + HEARTBEAT_AT, words)
        finally:
            self._link.close()
            self._gate_lost()

    def _heartbeat(self) -> None:
        """Update the heartbeat, which tests the connection; without registers write the coil again."""
        if self._options.registers is None:
            self._write_gate(on=self._gate_is_on())
            return
        status = self._station()
        gaps = status.gaps if self._claim is None else self._gaps(self._options.registers, status.gaps)
        condition = condition_bits(status, gaps=gaps > 0, own=self.name)
        if status.ready:
            self._beat = (self._beat + 1) & 0xFFFF
        words = [self._beat, state_code(status, condition)]
        if self._claim is not None:
            self._claim.check()
            words += [condition, gaps, *self._claim.next_words()]
            self._next_life_ns = time.monotonic_ns() + _LIFE_NS
        self._link.write_registers(self._options.registers + HEARTBEAT_AT, words)
        self._gaps_written, self._gaps_known = gaps, status.gaps

    def _gaps(self, address: int, counted: int) -> int:
        """Return the gaps that the PLC has not acknowledged; `counted` of them are of this run."""
        (held,) = self._link.read_registers("holding", address + GAPS_AT, 1)
        if held == 0 and self._gaps_written:
            self._gaps_found = -counted
        return min(self._gaps_found + counted, 0xFFFF)

    def _station(self) -> StationStatus:
        assert self.station is not None  # noqa: S101 (set before the thread starts)
        return self.station.status()

    def _found(self, address: int) -> tuple[Totals, int]:
        """Return counters, judged and sequence of the previous run, as in the PLC."""
        words = self._link.read_registers("holding", address + TOTALS_AT, 10)
        passed, rejected, faults, judged, sequence = (
            from_words(words[at : at + 2], self._options.word_order) for at in range(0, 10, 2)
        )
        return Totals(passed, rejected, faults, judged), sequence

    def _block(self, result: PartResult, totals: Totals, sequence: int) -> list[int]:
        """Return registers +0 to +15."""
        before = self._before or Totals()
        # Until this run has judged a numbered part, the value of the previous run stays valid.
        judged = before.judged if totals.judged is None else totals.judged
        values = (
            before.passed + totals.passed,
            before.rejected + totals.rejected,
            before.faults + totals.faults,
            judged or 0,
            sequence,
        )
        order = self._options.word_order
        block = [
            *to_words(plc_id(result), order),
            _VERDICTS[result.verdict],
            reason_code(result.verdict, result.reason),
            *to_words(scaled(result.score, self._options.score_scale), order),
        ]
        for value in values:
            block += to_words(value % WORD32, order)
        return block


def scaled(score: float, scale: float) -> int:
    """Return the score as a signed 32-bit number: saturated, `NO_SCORE` if it is not finite."""
    if not math.isfinite(score):
        return NO_SCORE
    most = (1 << 31) - 1
    return round(max(min(score * scale, most), -most))
