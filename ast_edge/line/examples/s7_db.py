"""The data block that the example `s7` uses, as a source for TIA Portal, from the fields of the block."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ast_edge.line.outputs.block import FIELDS, WORDS, Field

_HEAD = f"""\
// The data block of ast-edge for S7-1200 and S7-1500, for the line.toml of `ast-edge run --example s7`.
//
// In TIA Portal: External source files > Add new external file, then Generate blocks from source. Give it the
// number 100 (Properties > General). Its access must stay standard, 'Optimized block access' cleared
// (Properties > Attributes), and all of it retentive. The CPU must permit PUT/GET communication
// (Properties of the CPU > Protection & Security > Connection mechanisms).
//
// Bytes 0 to {2 * WORDS - 1} and Reject are written by the station: the program only reads them, and sets
// Gaps to 0 to acknowledge it. The rest is written by the program.
// S7-300 and S7-400 have neither UInt nor UDInt: replace them by Word and DWord there.
DATA_BLOCK "AstEdge"
{{ S7_Optimized_Access := 'FALSE' }}
VERSION : 0.1
   STRUCT
"""
_TAIL = """\
   END_STRUCT;

BEGIN

END_DATA_BLOCK
"""
_OWN = (
    ("Reject", "Bool", "on while a part must be rejected"),
    ("PartCount", "UDInt", "counts parts that arrive at the camera: written by the program"),
    ("Encoder", "UDInt", "the conveyor's count, modulo 2^32: written by the program"),
)


def source() -> str:
    """The text of the source."""
    entries = [(field.name.capitalize(), _type(field), field.meaning) for field in FIELDS]
    lines = [line for entry in (*entries, *_OWN) for line in _declared(*entry)]
    return _HEAD + "".join(f"      {line}\n" for line in lines) + _TAIL


def _type(field: Field) -> str:
    if field.words == 1:
        return "Word" if field.flags else "UInt"
    return "DInt" if field.signed else "UDInt"


def _declared(name: str, kind: str, meaning: str) -> Iterator[str]:
    for line in textwrap.wrap(meaning.replace("`", ""), 100):
        yield f"// {line}"
    yield f"{name} : {kind};"
