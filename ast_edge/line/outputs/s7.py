"""Verdicts to a Siemens S7 PLC: a reject bit with the gate, and a block in a data block.

The station is the client; it needs PUT/GET communication. The data block `db` contains the fields of
`ast_edge.line.outputs.block` from byte `start` on, two bytes for each word, in the PLC's own byte order: an
id is a double word at `start`, the verdict a word at `start` + 4, and so on. Its access must be standard, not
optimised. `ast-edge run --example s7-db` prints its source in SCL. What holds for the block of every kind of
PLC is in `ast_edge.line.outputs.plc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field as Limits
from pydantic import model_validator
from typing_extensions import override

from ast_edge.line.config.options import Name
from ast_edge.line.gate.belt import EncoderSource
from ast_edge.line.links.s7 import S7Link, S7Options
from ast_edge.line.links.s7_address import BitAddress, Place, parse
from ast_edge.line.outputs.block import JUDGED, WORDS, Field, length
from ast_edge.line.outputs.plc import PlcOutput, PlcOutputOptions

_MOST = 65_536  # bytes of a data block


class S7OutputOptions(S7Options, PlcOutputOptions):
    """A Siemens S7 PLC that receives verdicts, in a data block, by a bit, or both.

    `db`: number of the data block. `start`: the first byte of the 46 that the station writes there, even.
    `reject_bit`: of the gate, such as "DB100.DBX46.0", "M0.1" or "Q4.0".
    """

    kind: Literal["s7"]
    name: Name = "s7"
    db: Annotated[int, Limits(ge=1, le=65_535)] | None = None
    start: Annotated[int, Limits(ge=0, le=_MOST - 2 * WORDS, multiple_of=2)] = 0
    reject_bit: BitAddress | None = None

    bit_key: ClassVar[str] = "reject_bit"
    block_key: ClassVar[str] = "db"

    @model_validator(mode="after")
    def _bit_is_free(self) -> S7OutputOptions:
        if self.reject_bit is None or self.db is None:
            return self
        place = parse(self.reject_bit)
        if place.db == self.db and self.start <= place.byte < self.start + 2 * WORDS:
            raise ValueError(
                f"reject_bit = {self.reject_bit!r} is among the bytes {self.start} to "
                f"{self.start + 2 * WORDS - 1} that the station writes in DB{self.db}"
            )
        return self

    @property
    def judged_place(self) -> str | None:
        """The double word `judged`."""
        return None if self.db is None else str(place_of(self.db, self.start, (JUDGED,)))


def place_of(db: int, start: int, fields: tuple[Field, ...]) -> Place:
    """Return where adjoining fields are in the data block."""
    return Place("DB", db, start + 2 * fields[0].at, 2 * length(fields))


class S7Output(PlcOutput):
    """Writes results and the reject bit; `encoder` is the trigger's, for a gate with `delay_counts`."""

    def __init__(self, options: S7OutputOptions, encoder: EncoderSource | None = None) -> None:
        self._options = options
        self._link = S7Link(options)
        self._bit = None if options.reject_bit is None else parse(options.reject_bit)
        super().__init__(options, self._link, encoder)

    @override
    def _read(self, fields: tuple[Field, ...]) -> list[int]:
        (data,) = self._link.read([self._place(fields)])
        begin = fields[0].at
        return [
            int.from_bytes(data[2 * (field.at - begin) : 2 * (field.end - begin)], "big") for field in fields
        ]

    @override
    def _write(self, fields: tuple[Field, ...], values: Sequence[int]) -> None:
        data = b"".join(
            field.wrapped(value).to_bytes(2 * field.words, "big")
            for field, value in zip(fields, values, strict=True)
        )
        self._link.write(self._place(fields), data)

    @override
    def _write_bit(self, *, on: bool) -> None:
        assert self._bit is not None  # noqa: S101 (only a bit is written)
        self._link.write_bit(self._bit, on=on)

    def _place(self, fields: tuple[Field, ...]) -> Place:
        assert self._options.db is not None  # noqa: S101 (only a block is read and written)
        return place_of(self._options.db, self._options.start, fields)
