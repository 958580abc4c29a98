"""Options that the Modbus output refuses, and how it scales a score."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.outputs.modbus import ModbusOutput, ModbusOutputOptions
from ast_edge.line.outputs.plc import scaled


def test_an_encoder_must_be_there_for_a_delay_in_counts() -> None:
    options = {"host": "plc", "kind": "modbus", "coil": 0, "gate": {"delay_counts": 5, "late_counts": 5}}
    with pytest.raises(LineError, match="needs an encoder"):
        ModbusOutput(ModbusOutputOptions.model_validate(options))


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(1e-3, 1e9))
def test_any_score_fits_into_32_bits(score: float, scale: float) -> None:
    found = scaled(score, scale)
    assert -(1 << 31) <= found < 1 << 31
    with suppress(OverflowError, ValueError):
        if abs(score * scale) < 2**31 - 1:
            assert found == round(score * scale)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coil": 70_000},
        {"registers": 65_530},
        {"coil": 1, "heartbeat_ms": 0},
        {"coil": 1, "score_scale": 0},
        {"coil": 1, "word_order": "middle"},
        {"coil": 1, "register": 5},
    ],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModbusOutputOptions.model_validate({"kind": "modbus", "host": "plc", **options})
