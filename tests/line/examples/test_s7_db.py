"""The printed data block has its fields where output and trigger of the example look for them."""

from __future__ import annotations

import re
import sys

from ast_edge.cli import main
from ast_edge.line.examples import read_example
from ast_edge.line.links.s7_address import parse
from ast_edge.line.outputs.block import CLAIM, CONDITION, FIELDS, RESULT, STATE
from ast_edge.line.outputs.s7 import place_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SIZES = {"UInt": 2, "Word": 2, "UDInt": 4, "DInt": 4}


def layout(source: str) -> dict[str, str]:
    """Return the address of each variable by the rules of a standard data block."""
    found, byte, bit = {}, 0, 0
    for name, kind in re.findall(r"^ +([A-Za-z]+) : ([A-Za-z]+);$", source, re.MULTILINE):
        if kind == "Bool":
            found[name] = f"DB100.DBX{byte}.{bit}"
            bit += 1
            continue
        byte += (bit > 0) + (byte + (bit > 0)) % 2  # what is no bit begins at an even byte
        bit = 0
        found[name] = f"DB100.DB{'W' if _SIZES[kind] == 2 else 'D'}{byte}"
        byte += _SIZES[kind]
    return found


def test_every_field_is_where_the_output_writes_it() -> None:
    places = layout(read_example("s7-db"))
    for field in FIELDS:
        assert parse(places[field.name.capitalize()]) == place_of(100, 0, (field,))


def test_the_fields_adjoin() -> None:
    assert (*RESULT, *STATE, *CONDITION, *CLAIM) == FIELDS
    assert [field.at for field in FIELDS[1:]] == [field.end for field in FIELDS[:-1]]


def test_the_example_uses_the_places_of_the_data_block() -> None:
    places = layout(read_example("s7-db"))
    example = tomllib.loads(read_example("s7"))
    assert example["trigger"]["counter"] == places["PartCount"]
    assert example["trigger"]["encoder"] == places["Encoder"]
    assert example["trigger"]["judged"] == places["Judged"]
    assert example["output"][0]["reject_bit"] == places["Reject"]


def test_a_source_is_plain_text(capsys: object) -> None:
    assert read_example("s7-db").isascii()
    assert main(["run", "--example", "s7-db"]) == 0
