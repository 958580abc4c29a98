"""What only the Modbus trigger has: tables, discrete inputs, registers far from each other; its options."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from ast_edge.line.triggers.modbus import ModbusTriggerOptions
from benchmarks.line.plc import ENCODER16, SENSOR_INPUT
from tests.line.plcs import MODBUS, KnownPlc
from tests.line.sink import counted
from tests.line.triggers.test_polled import connected, watching
from tests.waiting import wait_for


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[KnownPlc]:
    with MODBUS.plc(tmp_path) as running:
        yield running


def test_an_encoder_of_16_bits_far_away_and_in_the_input_registers(plc: KnownPlc) -> None:
    plc.belt(0, counts=65_540)
    with watching(plc, table="input", encoder_register=ENCODER16, encoder_bits=16) as (trigger, sink, _):
        connected(trigger)
        plc.trigger()
        wait_for(lambda: sink.triggers)
        assert sink.triggers[0].encoder == 4
    plc.set(250, [0, 77])
    with watching(plc, encoder_register=250) as (trigger, _, _):
        wait_for(trigger.position)
        far = trigger.position()
        assert far is not None
        assert far.count == 77


def test_a_discrete_input_triggers_when_it_goes_on(plc: KnownPlc) -> None:
    with watching(plc, {"discrete_input": SENSOR_INPUT}, poll_ms=1) as (trigger, sink, _):
        connected(trigger)
        plc.sensor(on=True)
        counted(sink, 1)
        time.sleep(0.1)
    assert sink.given == [("trigger", None)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coil": 1, "counter_register": 2},
        {"coil": 1, "judged_register": 5},
        {"counter_register": 70_000},
        {"counter_register": 1, "counter_bits": 8},
        {"coil": 1, "poll_ms": 0},
        {"coil": 1, "poll_ms": 200, "max_gap_ms": 200},
        {"coil": 1, "max_gap_ms": 0},
        {"coil": 1, "most_missed": 10**6},
        {"coil": 1, "registers": 1},
    ],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModbusTriggerOptions.model_validate({"kind": "modbus", "host": "plc", **options})
