"""Triggers from a PLC over Modbus TCP: a part counter or a sensor's bit, polled; and its encoder.

A counter is the better source. It says how many parts came, also when two came between two polls or the
connection was gone: all but the newest are faults then (nobody saw when they were there), and after a lost
connection all of them. With a bit, what comes and goes between two polls or while the connection is gone
cannot be known; the bit must be on for at least two polls.

A trigger's time is the moment at which the poll that showed it was sent: the part came at most one poll and
one answer earlier, or while that poll was under way. The encoder is read in the same poll, in the same
request where its register lies within 125 of the counter's.

`judged_register` is where the station's own output tells the PLC up to which part everything is judged (`+12`
of its block, see `ast_edge.line.outputs.modbus`). At the start the parts between it and the counter are
faults: those that were under way when the station was killed, and those that came while it was not there. So
the PLC's count of parts is its count of verdicts, whatever happened to the station. Parts that were judged
and on their way to the gate then are not among them: the PLC must guard its gate by the heartbeat.
"""

from __future__ import annotations

import threading
import time
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ast_edge.backoff import Backoff
from ast_edge.errors import AstEdgeError
from ast_edge.line.belt import EncoderReading
from ast_edge.line.modbus import MOST_READ, Address, ModbusLink, ModbusOptions, Table, WordOrder, from_words
from ast_edge.line.options import Name
from ast_edge.line.triggers.base import TriggerSink, TriggerSource, TriggerStatus
from ast_edge.line.triggers.counter import Step, step

Bits = Literal[16, 32]


class ModbusTriggerOptions(ModbusOptions):
    """A PLC that counts parts, or has a bit for them: one of `counter_register`, `coil`, `discrete_input`.

    `counter_bits` and `encoder_bits`: one register or two. `table` is where counter and encoder are;
    `judged_register`, a holding register always, needs a counter. `word_order`: which half of a 32-bit value
    comes first. `poll_ms`: how often to look. `most_missed`: a counter that goes on by more than this was set
    anew.
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
    most_missed: Annotated[int, Field(ge=1, le=30_000)] = 1000

    @model_validator(mode="after")
    def _one_source(self) -> ModbusTriggerOptions:
        given = [self.counter_register, self.coil, self.discrete_input]
        if sum(found is not None for found in given) != 1:
            raise ValueError("give one of counter_register, coil, discrete_input")
        if self.judged_register is not None and self.counter_register is None:
            raise ValueError("judged_register needs counter_register: without a counter nothing is missing")
        return self


class _Poll:
    """One look at the PLC, in as few requests as the addresses allow."""

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
        """Counter and encoder, those of them that there are."""
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


class ModbusTrigger(TriggerSource):
    """Polls the PLC on a thread of its own; also the encoder for a reject gate (`position`)."""

    def __init__(self, options: ModbusTriggerOptions) -> None:
        self.name = options.name
        self._options = options
        self._link = ModbusLink(options)
        self._poll = _Poll(options, self._link)
        self._closing = threading.Event()
        self._backoff = Backoff(0.05, 1.0)
        self._connected = False
        self._triggers = self._missed = 0
        self._last_error = ""
        self._counter: int | None = None
        self._bit: bool | None = None
        self._fresh = True  # whether the next look is the first of its connection
        self._reading: EncoderReading | None = None
        self._sink: TriggerSink | None = None
        self._thread = threading.Thread(target=self._run, name=f"ast-edge-trigger-{self.name}", daemon=True)

    def start(self, sink: TriggerSink) -> None:
        """See `TriggerSource`."""
        self._sink = sink
        self._thread.start()

    @property
    def status(self) -> TriggerStatus:
        """See `TriggerSource`."""
        return TriggerStatus(self._connected, self._triggers, self._missed, self._last_error)

    def position(self) -> EncoderReading | None:
        """See `EncoderSource`: as of the last poll, None without connection or encoder."""
        return self._reading

    def close(self) -> None:
        """See `TriggerSource`."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    # ---- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._link.open()
                self._watch()
            except Exception as exc:  # noqa: BLE001 (whatever the PLC does, it is tried again)
                known = isinstance(exc, AstEdgeError)
                self._last_error = str(exc) if known else f"{type(exc).__name__}: {exc}"
            finally:
                self._link.close()
                self._reading = None
                self._set_connected(connected=False)
            self._closing.wait(self._backoff.next_s())

    def _watch(self) -> None:
        """Poll until it is over; errors end the connection."""
        self._fresh = True
        due = time.monotonic()
        while not self._closing.is_set():
            self._look()
            if not self._fresh:
                self._backoff.reset()
            self._fresh = False
            self._set_connected(connected=True)
            # No poll is made up for: what matters is the next one.
            due = max(due + self._options.poll_ms / 1000, time.monotonic())
            self._closing.wait(due - time.monotonic())

    def _look(self) -> None:
        """One poll and the triggers that it shows."""
        sent_ns = time.monotonic_ns()
        bit = None if self._options.counter_register is not None else self._poll.bit()
        read_ns = sent_ns if bit is None else time.monotonic_ns()
        registers = self._poll.registers()
        if "encoder" in registers:
            self._reading = EncoderReading(registers["encoder"], read_ns)
        if bit is None:
            self._counted(registers["counter"], sent_ns)
        else:
            self._switched(sent_ns, now=bit)

    def _counted(self, now: int, sent_ns: int) -> None:
        before = self._judged() if self._counter is None else self._counter
        self._counter = now
        if before is None:
            return
        found = step(before, now, bits=self._options.counter_bits, most=self._options.most_missed)
        ids = [str(value) for value in found.ids]
        seen = bool(ids) and not self._fresh and not found.why
        self._miss(ids[:-1] if seen else ids, found)
        if seen:
            self._give(sent_ns, ids[-1])

    def _judged(self) -> int | None:
        """The counter's value up to which parts have their verdicts; None where no register says it."""
        register = self._options.judged_register
        if register is None:
            return None
        words = self._link.read_registers("holding", register, 2)
        return from_words(words, self._options.word_order) % (1 << self._options.counter_bits)

    def _switched(self, sent_ns: int, *, now: bool) -> None:
        before, self._bit = self._bit, now
        if before is None or before or not now:
            return
        if self._fresh:
            # It was off before the connection broke and is on now: at least one part came unseen.
            self._miss([None], Step((), "the sensor's bit went on while there was no connection"))
        else:
            self._give(sent_ns, None)

    def _give(self, at_ns: int, external_id: str | None) -> None:
        assert self._sink is not None  # noqa: S101 (set before the thread starts)
        encoder = None if self._reading is None else self._reading.count
        self._triggers += 1
        self._sink.trigger(at_ns, encoder=encoder, source=self.name, external_id=external_id)

    def _miss(self, ids: list[str] | list[None], found: Step) -> None:
        assert self._sink is not None  # noqa: S101 (set before the thread starts)
        if ids:
            self._missed += len(ids)
            self._sink.missed(len(ids), self.name, [name for name in ids if name is not None])
        if ids or found.why:
            why = found.why or "they came between two polls or while there was no connection"
            self.told("trigger", {"trigger": self.name, "missed": len(ids), "why": why})

    def _set_connected(self, *, connected: bool) -> None:
        changed, self._connected = connected != self._connected, connected
        if not changed:
            return
        details: dict[str, object] = {"trigger": self.name, "connected": connected, "error": self._last_error}
        if connected and self._options.counter_register is None:
            details["unknown"] = "what came before this connection: a bit does not count"
        self.told("trigger", details)
