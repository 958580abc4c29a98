"""Triggers from a PLC over Modbus TCP: a polled part counter or sensor bit; and its encoder.

What holds for every PLC that is polled is in `ast_edge.line.triggers.polled`. The encoder is read in the same
request as the counter if its register lies within 125 of the counter's. `judged_register` is the block's
`judged`: 12 after the output's `registers`.
"""

from __future__ import annotations

import time
from typing import ClassVar, Literal

from typing_extensions import override

from ast_edge.line.config.options import Name
from ast_edge.line.links.modbus import (
    MOST_READ,
    Address,
    ModbusLink,
    ModbusOptions,
    Table,
    WordOrder,
    from_words,
)
from ast_edge.line.triggers.polled import Poll, PolledOptions, PolledTrigger

Bits = Literal[16, 32]


class ModbusTriggerOptions(ModbusOptions, PolledOptions):
    """A PLC that counts parts, or has a bit for them: one of `counter_register`, `coil`, `discrete_input`.

    `counter_bits` and `encoder_bits`: one register or two. `encoder_register`: the first of the conveyor's
    count, read with the part. `table` contains `counter_register` and `encoder_register`. `judged_register`,
    always a holding register, requires a counter: the station's own output reports there what is judged.
    `word_order`: which half of a 32-bit value comes first.
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

    counter_key: ClassVar[str] = "counter_register"
    bit_keys: ClassVar[tuple[str, ...]] = ("coil", "discrete_input")
    judged_key: ClassVar[str] = "judged_register"

    @property
    def counter_size(self) -> int:
        """The bits of the counter."""
        return self.counter_bits


class _Registers:
    """Counter and encoder, in as few requests as their addresses allow."""

    def __init__(self, options: ModbusTriggerOptions, link: ModbusLink) -> None:
        self._options, self._link = options, link
        wanted = {"counter": (options.counter_register, options.counter_bits)}
        wanted["encoder"] = (options.encoder_register, options.encoder_bits)
        self._places = {name: (at, bits // 16) for name, (at, bits) in wanted.items() if at is not None}
        first = min((at for at, _ in self._places.values()), default=0)
        end = max((at + count for at, count in self._places.values()), default=0)
        self._together = (first, end - first) if end - first <= MOST_READ else None

    def read(self) -> dict[str, int]:
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


class ModbusTrigger(PolledTrigger):
    """Polls the PLC on its own thread; also the encoder for a reject gate (`position`)."""

    def __init__(self, options: ModbusTriggerOptions) -> None:
        self._options = options
        self._link = ModbusLink(options)
        super().__init__(options, self._link)
        self._registers = _Registers(options, self._link)

    @override
    def _poll(self, sent_ns: int) -> Poll:
        bit = None if self._options.counts else self._read_bit()
        read_ns = sent_ns if bit is None else time.monotonic_ns()
        found = self._registers.read()
        return Poll(bit, found.get("counter"), found.get("encoder"), read_ns)

    def _read_bit(self) -> bool:
        """Return the sensor."""
        options = self._options
        if options.coil is not None:
            return self._link.read_bit("coil", options.coil)
        return self._link.read_bit("discrete", options.discrete_input or 0)

    @override
    def _read_judged(self) -> int:
        words = self._link.read_registers("holding", self._options.judged_register or 0, 2)
        return from_words(words, self._options.word_order)
