"""Verdicts to a PLC over Modbus TCP: a reject coil with the gate, and a block of holding registers.

The station is the client. A register's number is `registers` plus its place in the block; 32-bit values take
two registers, high word first unless `word_order` is "little". What holds for the block of every kind of PLC
is in `ast_edge.line.outputs.plc`, its fields are in `ast_edge.line.outputs.block`.

For a PLC of earlier versions with room for only 18 registers use `block = 18`: a second station is then not
detected, and gaps and the condition are not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field as Limits
from pydantic import model_validator
from typing_extensions import override

from ast_edge.line.config.options import Name
from ast_edge.line.gate.belt import EncoderSource
from ast_edge.line.links.modbus import Address, ModbusLink, ModbusOptions, WordOrder, from_words, to_words
from ast_edge.line.outputs.block import JUDGED, STATE, Field, length
from ast_edge.line.outputs.plc import PlcOutput, PlcOutputOptions

SHORT = STATE[-1].end  # size of a block without condition and claim


class ModbusOutputOptions(ModbusOptions, PlcOutputOptions):
    """A PLC that receives verdicts, in registers, by a coil, or both.

    `registers`: the first of the block of 23. `coil`: the reject coil. `block`: 18 omits the registers after
    the state. `word_order`: which half of a 32-bit value comes first.
    """

    kind: Literal["modbus"]
    name: Name = "modbus"
    registers: Annotated[int, Limits(ge=0, le=65_536 - SHORT)] | None = None
    block: Literal[18, 23] = 23
    coil: Address | None = None
    word_order: WordOrder = "big"

    bit_key: ClassVar[str] = "coil"
    block_key: ClassVar[str] = "registers"

    @model_validator(mode="after")
    def _block_fits(self) -> ModbusOutputOptions:
        if self.registers is not None and self.registers + self.block > 65_536:
            raise ValueError(f"registers = {self.registers} leaves no room for {self.block} registers")
        return self

    @property
    def claims(self) -> bool:
        """Whether the block has all its registers."""
        return self.registers is not None and self.block > SHORT

    @property
    def judged_place(self) -> int | None:
        """The first register of `judged`."""
        return None if self.registers is None else self.registers + JUDGED.at


class ModbusOutput(PlcOutput):
    """Writes results and the coil; `encoder` is the trigger's, for a gate with `delay_counts`."""

    def __init__(self, options: ModbusOutputOptions, encoder: EncoderSource | None = None) -> None:
        self._options = options
        self._link = ModbusLink(options)
        super().__init__(options, self._link, encoder)

    @override
    def _read(self, fields: tuple[Field, ...]) -> list[int]:
        words = self._link.read_registers("holding", self._first() + fields[0].at, length(fields))
        begin = fields[0].at
        return [
            from_words(words[field.at - begin : field.end - begin], self._order(field)) for field in fields
        ]

    @override
    def _write(self, fields: tuple[Field, ...], values: Sequence[int]) -> None:
        words: list[int] = []
        for field, value in zip(fields, values, strict=True):
            words += to_words(value, self._order(field)) if field.words == 2 else [field.wrapped(value)]
        self._link.write_registers(self._first() + fields[0].at, words)

    @override
    def _write_bit(self, *, on: bool) -> None:
        assert self._options.coil is not None  # noqa: S101 (only a coil is written)
        self._link.write_coil(self._options.coil, on=on)

    def _first(self) -> int:
        assert self._options.registers is not None  # noqa: S101 (only a block is read and written)
        return self._options.registers

    def _order(self, field: Field) -> WordOrder:
        return "big" if field.own_order else self._options.word_order
