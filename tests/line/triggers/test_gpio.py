"""GPIO triggers and encoders, on the kernel's simulator and on a stand-in for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.gate.belt import EncoderReading
from ast_edge.line.links.gpio import GpioInput, input_settings, request_lines
from ast_edge.line.outputs.gpio import GpioOutput, GpioOutputOptions
from ast_edge.line.triggers.gpio import GpioTrigger, GpioTriggerOptions
from tests.line.gpio_bench import ENCODER, REJECT, SENSOR, Bench, Scope, bench, pulse
from tests.line.parts import StillStation, part_result
from tests.line.sink import Sink, counted
from tests.waiting import wait_for

MS = 1_000_000
gpiod = pytest.importorskip("gpiod", reason='gpiod is not installed (pip install ".[line]")')


@pytest.fixture(params=["gpio-sim", "stand-in"])
def chip(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as found:
        yield found


def settled(sink: Sink, least: int) -> None:
    """Wait for at least so many parts, and until no more come."""
    before = -1
    while (now := len(sink.given)) < least or now != before:
        before = now
        time.sleep(0.3)


@contextmanager
def watching(chip: Bench, **options: Any) -> Iterator[tuple[GpioTrigger, Sink, list[Mapping[str, object]]]]:
    sensor = {"line": "SENSOR", **options.pop("sensor", {})}
    trigger = GpioTrigger(
        GpioTriggerOptions.model_validate({"kind": "gpio", "chip": chip.path, "sensor": sensor, **options})
    )
    sink, heard = Sink("gpio"), list[Mapping[str, object]]()
    trigger.report = lambda _, details: heard.append(details)
    trigger.start(sink)
    try:
        yield trigger, sink, heard
    finally:
        trigger.close()
        trigger.close()
    assert (trigger.status.triggers, trigger.status.missed) == (sink.count("trigger"), sink.count("missed"))


def connected(device: GpioTrigger | GpioOutput) -> None:
    wait_for(lambda: device.status.connected)


def test_each_rising_edge_is_a_part_at_its_time(chip: Bench) -> None:
    with watching(chip) as (trigger, sink, heard):
        connected(trigger)
        spans = []
        for _ in range(3):
            before = time.monotonic_ns()
            chip.pull(SENSOR, high=True)
            spans.append((before, time.monotonic_ns()))
            chip.pull(SENSOR, high=False)
            time.sleep(0.01)
        counted(sink, 3)
    for (before, after), seen in zip(spans, sink.triggers, strict=True):
        assert before <= seen.at_ns <= after
        assert (seen.source, seen.external_id, seen.encoder) == ("gpio", None, None)
    assert "no process held the line" in str(heard[0]["unknown"])
    assert not trigger.status.connected


@pytest.mark.parametrize(("edge", "active_low"), [("falling", False), ("rising", True)])
def test_the_other_edge(chip: Bench, edge: str, active_low: bool) -> None:
    chip.pull(SENSOR, high=True)
    with watching(chip, sensor={"edge": edge, "active_low": active_low}) as (trigger, sink, _):
        connected(trigger)
        chip.pull(SENSOR, high=False)
        counted(sink, 1)
        chip.pull(SENSOR, high=True)
        time.sleep(0.1)
    assert len(sink.given) == 1


def test_what_bounces_is_one_part(chip: Bench) -> None:
    with watching(chip, sensor={"debounce_ms": 150}) as (trigger, sink, _):
        connected(trigger)
        pulse(chip, SENSOR, 5)
        chip.pull(SENSOR, high=True)
        counted(sink, 1)
        time.sleep(0.3)
    assert sink.given == [("trigger", None)]


def test_a_line_by_offset(chip: Bench) -> None:
    with watching(chip, sensor={"line": SENSOR}) as (trigger, sink, _):
        connected(trigger)
        pulse(chip, SENSOR)
        counted(sink, 1)


def test_edges_that_the_kernel_could_not_keep_are_missed(chip: Bench) -> None:
    with watching(chip) as (trigger, sink, heard):
        connected(trigger)
        pulse(chip, SENSOR)
        counted(sink, 1)
        # The thread is kept from reading while more edges come than fit.
        held, flooded = trigger._edge, threading.Event()

        def slow(at_ns: int, sequence: int) -> None:
            flooded.wait(60)
            held(at_ns, sequence)

        trigger._edge = slow  # type: ignore[method-assign]
        pulse(chip, SENSOR)
        time.sleep(0.3)
        pulse(chip, SENSOR, 1250)
        flooded.set()
        settled(sink, 1100)
    # Slow machines of the kernel's simulator see fewer edges than were made.
    assert len(sink.given) <= 1252
    missed = len(sink.given) - 2 - 1024
    assert sink.count("missed") == missed
    assert [kind for kind, _ in sink.given] == ["trigger"] * 2 + ["missed"] * missed + ["trigger"] * 1024
    assert [details["missed"] for details in heard if "missed" in details] == [missed]


def test_a_part_gets_the_encoders_count_at_its_edge(chip: Bench) -> None:
    with watching(chip, encoder={"line": "ENCODER"}) as (trigger, sink, _):
        connected(trigger)
        pulse(chip, SENSOR)
        counted(sink, 1)
        pulse(chip, ENCODER, 5)
        pulse(chip, SENSOR)
        pulse(chip, ENCODER, 4)
        counted(sink, 2)
        time.sleep(0.1)
        reading = trigger.position()
        assert reading is not None
        assert reading.count == 9
    assert [seen.encoder for seen in sink.triggers] == [0, 5]
    assert trigger.position() is None


def test_a_count_that_was_not_kept_is_unknown(chip: Bench) -> None:
    """The sensor's edge is among encoder edges that were pushed out of the buffer."""
    with watching(chip, encoder={"line": "ENCODER"}) as (trigger, sink, _):
        connected(trigger)
        held, flooded = trigger._encoder.read, threading.Event()

        def slow() -> EncoderReading | None:
            flooded.wait(60)
            return held()

        trigger._encoder.read = slow  # type: ignore[method-assign]
        time.sleep(0.3)
        pulse(chip, ENCODER, 7)
        pulse(chip, SENSOR)
        pulse(chip, ENCODER, 1250)
        flooded.set()
        counted(sink, 1)
        pulse(chip, SENSOR)
        counted(sink, 2)
    assert sink.triggers[0].encoder is None
    # The numbers count what was pushed out of the buffer too.
    assert sink.triggers[1].encoder is not None
    assert 7 + 1024 < sink.triggers[1].encoder <= 1257


def test_a_chip_that_is_pulled_and_comes_back(chip: Bench) -> None:
    with watching(chip, encoder={"line": "ENCODER"}) as (trigger, sink, heard):
        connected(trigger)
        pulse(chip, ENCODER, 3)
        pulse(chip, SENSOR)
        counted(sink, 1)
        chip.unplug()
        wait_for(lambda: not trigger.status.connected)
        assert trigger.position() is None
        chip.plug()
        connected(trigger)
        pulse(chip, ENCODER, 2)
        pulse(chip, SENSOR)
        counted(sink, 2)
    before, after = (seen.encoder for seen in sink.triggers)
    assert before == 3
    assert after is not None
    assert after > 1 << 30  # a jump: what was counted before says nothing about now
    assert sink.count("missed") == 0
    assert [details["connected"] for details in heard] == [True, False, True, False]


def test_a_line_in_use_by_another_process_is_waited_for(chip: Bench) -> None:
    other = request_lines(chip.path, {"SENSOR": input_settings(GpioInput(line="SENSOR"))})
    with watching(chip) as (trigger, sink, _):
        wait_for(lambda: "cannot be requested" in trigger.status.last_error)
        other.release()
        connected(trigger)
        pulse(chip, SENSOR)
        counted(sink, 1)


@pytest.mark.parametrize(("line", "word"), [("NOBODY", "NOBODY"), (99, "99")])
def test_a_line_that_there_is_not(chip: Bench, line: int | str, word: str) -> None:
    with pytest.raises(LineError, match=f"line {word} cannot be requested .*gpioinfo"):
        request_lines(chip.path, {line: input_settings(GpioInput(line=line))})


def test_a_chip_that_there_is_not() -> None:
    with pytest.raises(LineError, match="/dev/gpiochip999: line 1 cannot be requested"):
        request_lines("/dev/gpiochip999", {1: input_settings(GpioInput(line=1))})


def test_the_gate_by_the_triggers_encoder(chip: Bench) -> None:
    gate = {"pulse_ms": 300, "late_ms": 5000, "delay_counts": 20, "late_counts": 20}
    with watching(chip, encoder={"line": "ENCODER"}) as (trigger, sink, _):
        connected(trigger)
        pulse(chip, ENCODER, 4)
        pulse(chip, SENSOR)
        counted(sink, 1)
        output = GpioOutput(
            GpioOutputOptions.model_validate(
                {"kind": "gpio", "chip": chip.path, "reject": {"line": "REJECT"}, "gate": gate}
            ),
            trigger,
        )
        output.start(StillStation())
        with Scope(chip, REJECT) as scope:
            connected(output)
            output.put(replace(part_result(1, "reject"), trigger=sink.triggers[0]))
            pulse(chip, ENCODER, 19)
            time.sleep(0.1)
            assert not scope.pulses
            pulse(chip, ENCODER, 1)
            wait_for(lambda: scope.ended(1))
        output.close(5)
    assert output.counters["untimed"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sensor": {"line": 1, "edge": "both"}},
        {"sensor": {"line": 1, "debounce_ms": -1}},
        {"sensor": {"line": 1}, "encoder": {"line": 1}},
        {"sensor": {"line": 1, "bias": "up"}},
    ],
)
def test_trigger_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GpioTriggerOptions.model_validate({"kind": "gpio", **options})
