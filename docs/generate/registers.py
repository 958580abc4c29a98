"""What a PLC reads and writes, from the modules that speak with it."""

from __future__ import annotations

from types import ModuleType

from ast_edge.line.links.s7_address import Place
from ast_edge.line.outputs import ethernet_ip, modbus, plc, s7
from ast_edge.line.outputs.block import FIELDS, Field
from ast_edge.line.outputs.reasons import OTHER, REASONS
from ast_edge.line.triggers import ethernet_ip as ethernet_ip_trigger
from ast_edge.line.triggers import modbus as modbus_trigger
from ast_edge.line.triggers import polled
from ast_edge.line.triggers import s7 as s7_trigger
from docs.generate.markdown import docstring, table

COLUMNS = ("field", "Modbus registers", "S7, `start` = 0", "EtherNet/IP", "meaning")
OUTPUTS: dict[str, ModuleType] = {"Modbus TCP": modbus, "Siemens S7": s7, "EtherNet/IP": ethernet_ip}
TRIGGERS: dict[str, ModuleType] = {
    "Modbus TCP": modbus_trigger,
    "Siemens S7": s7_trigger,
    "EtherNet/IP": ethernet_ip_trigger,
}


def page() -> str:
    """The output's block, the reason codes, the trigger's places; what each protocol adds."""
    rows = [("0", "no fault"), *((str(number), words) for number, words, _ in REASONS)]
    rows.append((str(OTHER), "any other reason"))
    return "\n".join(
        [
            "# Register maps\n",
            "Generated from the modules that speak with PLCs. The station is the client.\n",
            "## Output: verdicts and the reject bit\n",
            docstring(plc) + "\n",
            "## The block\n",
            table(COLUMNS, [_row(each) for each in FIELDS]),
            "",
            *_protocols(OUTPUTS),
            "## Reason codes\n",
            table(("code", "meaning"), rows) + "\n",
            "## Trigger: counter or sensor bit\n",
            docstring(polled) + "\n",
            *_protocols(TRIGGERS),
        ]
    )


def _row(field: Field) -> tuple[str, ...]:
    registers = " ".join(f"+{at}" for at in range(field.at, field.end))
    address = str(Place("DB", 1, 2 * field.at, 2 * field.words)).partition(".")[2]
    return field.name, registers, address, f"[{FIELDS.index(field)}]", field.meaning


def _protocols(modules: dict[str, ModuleType]) -> list[str]:
    return [f"### {name}\n\n{docstring(module)}\n" for name, module in modules.items()]
