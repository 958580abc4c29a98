"""The tags that the example `ethernet-ip` uses, as a rung for import into Logix Designer (L5X)."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from ast_edge.line.outputs.block import FIELDS, Field

TAG = "AstEdge"
_HEAD = """\
<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!-- The tags of ast-edge for a Logix controller, for the line.toml of the example ethernet-ip.

In Logix Designer: in a ladder routine, Import Rungs. The rung does nothing and can be deleted; the tags stay
in the scope of the controller. External Access of each must stay Read/Write. AstEdge and AstEdge_Reject are
written by the station: the program only reads them, and sets AstEdge_Gaps to 0 to acknowledge it.
AstEdge_PartCount and AstEdge_Encoder are written by the program. DINT is signed: a counter above 2147483647
is shown as negative. -->
<RSLogix5000Content SchemaRevision="1.0" SoftwareRevision="20.01" TargetType="Rung" TargetCount="1" \
ContainsContext="true" ExportOptions="References NoRawData L5KData DecoratedData Context RoutineLabels \
AliasExtras IOTags NoStringData ForceProtectedEncoding AllProjDocTrans">
<Controller Use="Context" Name="AstEdge">
<Tags Use="Context">
"""
_TAIL = """\
</Tags>
<Programs Use="Context">
<Program Use="Context" Name="MainProgram">
<Routines Use="Context">
<Routine Use="Context" Name="MainRoutine">
<RLLContent Use="Context">
<Rung Use="Target" Number="0" Type="N">
<Text>
<![CDATA[NOP();]]>
</Text>
</Rung>
</RLLContent>
</Routine>
</Routines>
</Program>
</Programs>
</Controller>
</RSLogix5000Content>
"""
_OWN = (
    ("Reject", "BOOL", "on while a part must be rejected"),
    ("PartCount", "DINT", "counts parts that arrive at the camera: written by the program"),
    ("Encoder", "DINT", "the conveyor's count, modulo 2^32: written by the program"),
)


def source() -> str:
    """The text of the file."""
    about = "verdicts of the station, see the aliases"
    tags = [_tag(TAG, f'TagType="Base" DataType="DINT" Dimensions="{len(FIELDS)}" Radix="Decimal"', about)]
    tags += [_tag(f"{TAG}_{field.name.capitalize()}", _alias(field), field.meaning) for field in FIELDS]
    tags += [
        _tag(f"{TAG}_{name}", f'TagType="Base" DataType="{kind}" Radix="Decimal"', meaning)
        for name, kind, meaning in _OWN
    ]
    return _HEAD + "".join(line for tag in tags for line in tag) + _TAIL


def _alias(field: Field) -> str:
    return f'TagType="Alias" Radix="Decimal" AliasFor="{TAG}[{FIELDS.index(field)}]"'


def _tag(name: str, attributes: str, meaning: str) -> Iterator[str]:
    constant = ' Constant="false"' if "Base" in attributes else ""
    yield f'<Tag Name={quoteattr(name)} {attributes}{constant} ExternalAccess="Read/Write">\n'
    yield f"<Description>\n<![CDATA[{meaning.replace('`', '')}]]>\n</Description>\n</Tag>\n"
