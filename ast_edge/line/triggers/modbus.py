"""Triggers from a PLC over Modbus TCP: a polled part counter or sensor bit; and its encoder.

Prefer a counter. It shows how many parts arrived, even if two arrived between two polls or the connection was
lost: all but the newest are then faults (when they were in place is unknown), and after a lost connection all
of them. With a bit, parts between two polls or while the connection is lost cannot be known; the bit must be
on for at least two polls.

A trigger's interval begins when the poll that showed it was sent, from which its deadline counts, and ends
when that poll was answered, after which its picture must be taken. The part may have arrived as early as the
previous poll was sent: at most `max_gap_ms` before the answer, or the part is missed, because it may have
left. The encoder is read in the same poll, in the same request if its register lies within 125 of the
counter's.

`judged_register` is where the station's own output reports to the PLC up to which part everything is judged
(`+12` of its block, see `ast_edge.line.outputs.modbus`). At the start the parts between it and the counter
are faults: those in progress when the station was killed, and those that arrived while it was down. So the
PLC's count of parts equals its count of verdicts, whatever happened to the station. Parts that were judged
and on their way to the gate at that time are not among them: the PLC must guard its gate by the heartbeat.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ast_edge.line.config.options import Name
from ast_edge.line.gate.belt import EncoderReading
from ast_edge.line.links.modbus import (
    MOST_READ,
    Address,
    ModbusLink,
    ModbusOptions,
    Table,
    WordOrder,
    from_words,
)
from ast_edge.line.triggers.counter import step
from ast_edge.line.triggers.freshness import GapMs, Moment, gap_allowed, too_long
from ast_edge.line.triggers.watched import WatchedTrigger

Bits = Literal[16, 32]
_ANSWERS = 200


class ModbusTriggerOptions(ModbusOptions):
    """A PLC that counts parts, or has a bit for them: one of `counter_register`, `coil`, `discrete_input`.

    `counter_bits` and `encoder_bits`: one register or two. `encoder_register`: the first of the conveyor's
    count, read with the part. `table` contains `counter_register` and `encoder_register`. `judged_register`,
    always a holding register, requires a counter: the station's own output reports there what is judged.
    `word_order`: which half of a 32-bit value comes first. `poll_ms`: the interval between polls.
    `most_missed`: a counter that advances by more than this was reset. `max_gap_ms`: maximum time from
    sending one poll to the answer of the next, by default 100 or three polls; together with
    `timing.picture_within_ms` it must be less than a part stays in front of the camera. `ast-edge run
    --check` measures the response time of the PLC.
    """

    kind: Literal["modbus"]
    name: Name = "modbus"
    counter_register: Address | None = None
    counter_bits: Bits = 32
    coil: Address | None = None
    discrete_input: Address | None = None
    encoder_register: Address | None = None
    encoder_bits: Bits = 32
    judged_register: Address | None = None
    table: Table = "holding"
    word_order: WordOrder = "big"
    poll_ms: Annotated[float, Field(ge=1, le=1000)] = 5.0
    max_gap_ms: GapMs | None = None
    most_missed: Annotated[int, Field(ge=1, le=30_000)] = 1000

    @model_validator(mode="after")
    def _one_source(self) -> ModbusTriggerOptions:
        given = [self.counter_register, self.coil, self.discrete_input]
        if sum(found is not None for found in given) != 1:
            raise ValueError("give one of counter_register, coil, discrete_input")
        if self.judged_register is not None and self.counter_register is None:
            raise ValueError("judged_register requires counter_register: only a counter shows missing parts")
        if self.gap_ms <= self.poll_ms:
            raise ValueError(
                f"max_gap_ms = {self.gap_ms:g} is not above poll_ms = {self.poll_ms:g}: no part would be seen"
            )
        return self

    @property
    def gap_ms(self) -> float:
        """The longest gap between two polls, in milliseconds."""
        return gap_allowed(self.max_gap_ms, self.poll_ms)


class _Poll:
    """One poll of the PLC, in as few requests as the addresses allow."""

    def __init__(self, options: ModbusTriggerOptions, link: ModbusLink) -> None:
        self._options, self._link = options, link
        wanted = {"counter": (options.counter_register, options.counter_bits)}
        wanted["encoder"] = (options.encoder_register, options.encoder_bits)
        self._places = {name: (at, bits // 16) for name, (at, bits) in wanted.items() if at is not None}
        first = min((at for at, _ in self._places.values()), default=0)
        end = max((at + count for at, count in self._places.values()), default=0)
        self._together = (first, end - first) if end - first <= MOST_READ else None

    def bit(self) -> bool:
        """The sensor."""
        options = self._options
        if options.coil is not None:
            return self._link.read_bit("coil", options.coil)
        return self._link.read_bit("discrete", options.discrete_input or 0)

    def registers(self) -> dict[str, int]:
        """Return counter and encoder, if configured."""
        if not self._places:
            return {}
        table, order = self._options.table, self._options.word_order
        if self._together is None:
            return {
                name: from_words(self._link.read_registers(table, at, count), order)
                for name, (at, count) in self._places.items()
            }
        first, length = self._together
        words = self._link.read_registers(table, first, length)
        return {
            name: from_words(words[at - first : at - first + count], order)
            for name, (at, count) in self._places.items()
        }


class ModbusTrigger(WatchedTrigger):
    """Polls the PLC on its own thread; also the encoder for a reject gate (`position`)."""

    def __init__(self, options: ModbusTriggerOptions) -> None:
        super().__init__(options.name)
        self._options = options
        self._link = ModbusLink(options)
        self._poll = _Poll(options, self._link)
        self._counter: int | None = None
        self._bit: bool | None = None
        self._due = 0.0
        self.answers_ms: deque[float] = deque(maxlen=_ANSWERS)  # how long the last polls took
        self._sent_ns = 0  # when the last poll was sent
        self._late = ""  # why parts of this poll were seen too late; empty if they were not

    # ---- on the trigger's own thread -----------------------------------------------------------------------

    def _connect(self) -> None:
        self._link.open()
        self._due = time.monotonic()

    def _disconnect(self) -> None:
        self._link.close()

    def _rest(self) -> None:
        # Skipped polls are not made up for: only the next one matters.
        self._due = max(self._due + self._options.poll_ms / 1000, time.monotonic())
        self._closing.wait(self._due - time.monotonic())

    def _unknown(self) -> str:
        counts = self._options.counter_register is not None
        return "" if counts else "parts before this connection: a bit does not count"

    def _look(self) -> None:
        """Poll once and report the triggers found."""
        before_ns, sent_ns = self._sent_ns, time.monotonic_ns()
        self._sent_ns = sent_ns
        bit = None if self._options.counter_register is not None else self._poll.bit()
        read_ns = sent_ns if bit is None else time.monotonic_ns()
        registers = self._poll.registers()
        moment = Moment(sent_ns, time.monotonic_ns())
        self.answers_ms.append((moment.until_ns - sent_ns) / 1e6)
        self._late = "" if self._fresh else too_long(before_ns, moment.until_ns, self._options.gap_ms)
        encoder = registers.get("encoder")
        if encoder is not None:
            self._reading = EncoderReading(encoder, read_ns)
        if bit is None:
            self._counted(registers["counter"], moment, encoder)
        else:
            self._switched(moment, encoder, now=bit)

    def _counted(self, now: int, moment: Moment, encoder: int | None) -> None:
        before = self._judged() if self._counter is None else self._counter
        self._counter = now
        if before is None:
            return
        found = step(before, now, bits=self._options.counter_bits, most=self._options.most_missed)
        ids = [str(value) for value in found.ids]
        if found.why:
            self._uncounted(found.why)
        seen = bool(ids) and not self._fresh and not found.why and not self._late
        unseen = ids[:-1] if seen else ids
        self._miss(len(unseen), unseen, found.why or (self._late if unseen else ""))
        if seen:
            self._give(moment.at_ns, until_ns=moment.until_ns, encoder=encoder, external_id=ids[-1])

    def _judged(self) -> int | None:
        """Return the counter's value up to which parts have verdicts; None without such a register."""
        register = self._options.judged_register
        if register is None:
            return None
        words = self._link.read_registers("holding", register, 2)
        return from_words(words, self._options.word_order) % (1 << self._options.counter_bits)

    def _switched(self, moment: Moment, encoder: int | None, *, now: bool) -> None:
        before, self._bit = self._bit, now
        arrived = before is False and now
        if self._late:
            # Parts in between are unknown; that the bit went on is certainly a part.
            self._miss(int(arrived), why=self._late)
            self._uncounted(f"{self._late}; a bit does not show how many parts arrived")
            return
        if not arrived:
            return
        if self._fresh:
            # It was off before the connection broke and is on now: at least one part passed unseen.
            self._miss(1, why="the sensor's bit went on while there was no connection")
        else:
            self._give(moment.at_ns, until_ns=moment.until_ns, encoder=encoder)
