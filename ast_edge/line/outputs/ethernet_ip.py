"""Verdicts to a Logix controller (Rockwell) over EtherNet/IP: a reject tag with the gate, and an array.

The station is the client. The tag `tag` is an array of 15 DINT, one for each field of
`ast_edge.line.outputs.block`, in their order. A counter above 2147483647 is shown as a negative number, since
DINT is signed. `reject_tag` is a BOOL. External Access of both must be Read/Write. `ast-edge run --example
ethernet-ip-tags` prints them for import, with an alias for each field. What holds for the block of every kind
of PLC is in `ast_edge.line.outputs.plc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import model_validator
from typing_extensions import override

from ast_edge.line.config.options import Name
from ast_edge.line.gate.belt import EncoderSource
from ast_edge.line.links.ethernet_ip import EthernetIpLink, EthernetIpOptions, Tag, TagName
from ast_edge.line.outputs.block import FIELDS, JUDGED, Field
from ast_edge.line.outputs.plc import PlcOutput, PlcOutputOptions

_DINT = 1 << 32
_TRUE, _FALSE = b"\xff", b"\x00"


class EthernetIpOutputOptions(EthernetIpOptions, PlcOutputOptions):
    """A Logix controller that receives verdicts, in an array, by a tag, or both.

    `tag`: the array of 15 DINT, in a program as "Program:Main.AstEdge". `reject_tag`: the BOOL of the gate.
    """

    kind: Literal["ethernet-ip"]
    name: Name = "ethernet-ip"
    tag: TagName | None = None
    reject_tag: TagName | None = None

    bit_key: ClassVar[str] = "reject_tag"
    block_key: ClassVar[str] = "tag"

    @model_validator(mode="after")
    def _tag_is_an_array(self) -> EthernetIpOutputOptions:
        if self.tag is not None and self.tag.endswith("]"):
            raise ValueError(f"tag = {self.tag!r} is an element: give the name of the array")
        return self

    @property
    def judged_place(self) -> str | None:
        """The element `judged`."""
        return None if self.tag is None else element(self.tag, JUDGED)


def element(tag: str, field: Field) -> str:
    """Return the name of a field's element of the array `tag`."""
    return f"{tag}[{FIELDS.index(field)}]"


class EthernetIpOutput(PlcOutput):
    """Writes results and the reject tag; `encoder` is the trigger's, for a gate with `delay_counts`."""

    def __init__(self, options: EthernetIpOutputOptions, encoder: EncoderSource | None = None) -> None:
        self._options = options
        self._link = EthernetIpLink(options)
        super().__init__(options, self._link, encoder)

    @override
    def _read(self, fields: tuple[Field, ...]) -> list[int]:
        (data,) = self._link.read([self._tag(fields)])
        found = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
        return [field.wrapped(value) for field, value in zip(fields, found, strict=True)]

    @override
    def _write(self, fields: tuple[Field, ...], values: Sequence[int]) -> None:
        data = b"".join((value % _DINT).to_bytes(4, "little") for value in values)
        self._link.write(self._tag(fields), data)

    @override
    def _write_bit(self, *, on: bool) -> None:
        assert self._options.reject_tag is not None  # noqa: S101 (only a tag is written)
        self._link.write(Tag(self._options.reject_tag, "BOOL"), _TRUE if on else _FALSE)

    def _tag(self, fields: tuple[Field, ...]) -> Tag:
        assert self._options.tag is not None  # noqa: S101 (only an array is read and written)
        return Tag(element(self._options.tag, fields[0]), "DINT", len(fields))
