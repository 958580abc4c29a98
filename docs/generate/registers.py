"""What a PLC reads and writes, from the modules that speak Modbus."""

from __future__ import annotations

from ast_edge.line.outputs import modbus as output
from ast_edge.line.outputs.reasons import OTHER, REASONS
from ast_edge.line.triggers import modbus as trigger
from docs.generate.markdown import docstring, table


def page() -> str:
    """The output's block, the trigger's registers and the reason codes."""
    rows = [("0", "no fault"), *((str(code), words) for code, words, _ in REASONS)]
    rows.append((str(OTHER), "any other reason"))
    return "\n".join(
        [
            "# Register maps\n",
            "Generated from the modules that speak Modbus TCP. The station is the client.\n",
            "## Output: verdicts and the reject coil\n",
            docstring(output) + "\n",
            "## Reason codes\n",
            table(("code", "meaning"), rows) + "\n",
            "## Trigger: counter, coil or discrete input\n",
            docstring(trigger) + "\n",
        ]
    )
