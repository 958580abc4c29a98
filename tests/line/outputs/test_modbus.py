"""What only the Modbus output has: the order of the halves of its values."""

from __future__ import annotations

from pathlib import Path

from tests.line.outputs.test_plc import delivered, output_to, put
from tests.line.plcs import MODBUS


def test_words_may_come_low_half_first(tmp_path: Path) -> None:
    with MODBUS.plc(tmp_path) as plc, output_to(plc, word_order="little") as (output, _):
        put(output, "pass", ids=70_000)
        delivered(output, 1)
    (write,) = [event for event in plc.events("registers") if len(event["values"]) == 16]
    assert write["values"][:2] == [70_001 & 0xFFFF, 70_001 >> 16]
    assert write["values"][12:] == [70_001 & 0xFFFF, 70_001 >> 16, 1, 0]
