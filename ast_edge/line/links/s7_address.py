"""Addresses in an S7 PLC as its programmer writes them: DB100.DBD4, DB100.DBX46.0, MW20, I0.3, Q4.1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

Area = Literal["DB", "I", "Q", "M"]
_MOST = 65_535
_AREAS: dict[str, Area] = {"I": "I", "E": "I", "Q": "Q", "A": "Q", "M": "M"}
_BYTES = {"W": 2, "D": 4}
_ADDRESS = re.compile(
    r"(?:DB(?P<db>[0-9]{1,5})\.DB(?P<of_db>[XWD])|(?P<area>[IEQAM])(?P<of_area>[WD]?))"
    r"(?P<byte>[0-9]{1,5})(?:\.(?P<bit>[0-7]))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Place:
    """`size` bytes from `byte` on in an area or data block; with `bit`, one bit of one byte."""

    area: Area
    db: int
    byte: int
    size: int
    bit: int | None = None

    def __str__(self) -> str:
        letter = "X" if self.bit is not None else {2: "W", 4: "D"}.get(self.size, "B")
        bit = "" if self.bit is None else f".{self.bit}"
        if self.area == "DB":
            return f"DB{self.db}.DB{letter}{self.byte}{bit}"
        return f"{self.area}{'' if letter == 'X' else letter}{self.byte}{bit}"

    @property
    def bits(self) -> int:
        """The bits of a number there."""
        return 8 * self.size


def parse(address: str) -> Place:
    """Return the place of an address. Raises ValueError if it is none."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(f"{address!r} is no address of an S7 PLC, such as DB100.DBD4, DB100.DBX46.0 or M0.1")
    letter = found["of_db"] or found["of_area"] or "X"
    if (letter == "X") != (found["bit"] is not None):
        raise ValueError(
            f"{address!r}: a bit, and only a bit, has its number after a dot, as in DB100.DBX46.0"
        )
    db, byte = int(found["db"] or 0), int(found["byte"])
    if max(db, byte) > _MOST or (found["db"] and db == 0):
        raise ValueError(f"{address!r}: data blocks have numbers from 1 to {_MOST}, bytes from 0 to {_MOST}")
    area: Area = "DB" if found["db"] else _AREAS[found["area"]]
    return Place(area, db, byte, _BYTES.get(letter, 1), int(found["bit"]) if found["bit"] else None)


def _bit(address: str) -> str:
    if parse(address).bit is None:
        raise ValueError(f"{address!r} is no bit: give one such as DB100.DBX46.0 or M0.1")
    return address


def _number(address: str) -> str:
    if parse(address).bit is not None:
        raise ValueError(f"{address!r} is no number: give a word or double word such as MW20 or DB100.DBD48")
    return address


BitAddress = Annotated[str, AfterValidator(_bit)]
NumberAddress = Annotated[str, AfterValidator(_number)]
