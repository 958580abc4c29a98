"""GPIO outputs, on the kernel's simulator and on a stand-in for it, and the stand-in itself."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from ast_edge.errors import LineError
from ast_edge.line.links.gpio import GpioInput, input_settings, request_lines
from ast_edge.line.outputs.gpio import GpioOutput, GpioOutputOptions
from ast_edge.line.triggers.gpio import GpioTrigger
from ast_edge.verdict.scoring import Verdict
from tests.line.gpio_bench import ALIVE, FAULT, OK, READY, REJECT, SPARE, Bench, Scope, bench
from tests.line.parts import StillStation, part_result
from tests.waiting import wait_for

MS = 1_000_000
gpiod = pytest.importorskip("gpiod", reason='gpiod is not installed (pip install ".[line]")')


@pytest.fixture(params=["gpio-sim", "stand-in"])
def chip(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as found:
        yield found


def connected(device: GpioTrigger | GpioOutput) -> None:
    wait_for(lambda: device.status.connected)


@contextmanager
def driving(chip: Bench, **options: Any) -> Iterator[GpioOutput]:
    output = GpioOutput(GpioOutputOptions.model_validate({"kind": "gpio", "chip": chip.path, **options}))
    output.start(StillStation())
    try:
        yield output
    finally:
        output.close(5)
        assert not output._thread.is_alive()


def put(output: GpioOutput, *verdicts: Verdict) -> None:
    for number, verdict in enumerate(verdicts, 1):
        output.put(part_result(number, verdict))


GATE = {"pulse_ms": 300, "late_ms": 5000}


def test_rejects_and_faults_fire_and_passes_do_not_for_their_time(chip: Bench) -> None:
    with Scope(chip, REJECT) as scope, driving(chip, reject={"line": "REJECT"}, gate=GATE) as output:
        connected(output)
        put(output, "pass")
        time.sleep(0.05)
        assert not scope.pulses
        for count, verdict in enumerate(("reject", "fault"), 1):
            put(output, verdict)  # type: ignore[arg-type]
            wait_for(lambda count=count: scope.ended(count))  # type: ignore[misc]
    assert len(scope.pulses) == 2
    assert all(off - on > 150 * MS for on, off in scope.pulses)
    assert output.counters == {"fired": 2, "missed": 0, "untimed": 0, "waiting": 0, "errors": 0}
    assert output.status.delivered == 3


def test_the_gate_is_as_far_away_as_it_is_said(chip: Bench) -> None:
    with Scope(chip, REJECT) as scope:
        gate = {**GATE, "delay_ms": 200}
        with driving(chip, reject={"line": REJECT}, gate=gate) as output:
            connected(output)
            began = time.monotonic_ns()
            output.put(part_result(1, "reject", at_ns=began))
            wait_for(lambda: scope.ended(1))
    assert scope.pulses[0][0] >= began + 200 * MS


@pytest.mark.parametrize("active_low", [False, True])
def test_signals_for_good_parts_and_faults(chip: Bench, active_low: bool) -> None:
    lines = {
        "ok": {"line": "OK", "active_low": active_low},
        "fault": {"line": "FAULT", "active_low": active_low},
    }
    with driving(chip, signal_ms=400, **lines) as output:
        connected(output)
        for verdict, on, off in (("pass", OK, FAULT), ("fault", FAULT, OK)):
            put(output, verdict)  # type: ignore[arg-type]
            wait_for(lambda on=on: chip.level(on) != active_low)  # type: ignore[misc]
            assert chip.level(off) == active_low
            wait_for(lambda on=on: chip.level(on) == active_low)  # type: ignore[misc]
        put(output, "reject")
        wait_for(lambda: output.status.delivered == 3)
        assert chip.level(OK) == chip.level(FAULT) == active_low


def test_ready_is_on_while_the_next_part_would_be_judged(chip: Bench) -> None:
    station = StillStation()
    ready = station.now
    assert ready.ready
    lines = {"ready": {"line": "READY"}, "alive": {"line": "ALIVE"}}
    output = GpioOutput(
        GpioOutputOptions.model_validate({"kind": "gpio", "chip": chip.path, "alive_ms": 50, **lines})
    )
    with Scope(chip, ALIVE) as alive:
        output.start(station)
        wait_for(lambda: chip.level(READY))
        wait_for(lambda: alive.ended(2))
        station.now = replace(ready, camera="lost")
        wait_for(lambda: not chip.level(READY))
        wait_for(lambda: not chip.level(ALIVE))
        quiet = len(alive.pulses)
        time.sleep(0.3)
        assert len(alive.pulses) == quiet
        station.now = ready
        wait_for(lambda: chip.level(READY))
        output.close(5)
    assert not chip.level(READY)
    assert not chip.level(ALIVE)


def test_lines_are_off_from_the_start_and_at_the_end(chip: Bench) -> None:
    options = {"reject": {"line": "REJECT"}, "gate": {"pulse_ms": 60_000}}
    with driving(chip, **options) as output:
        connected(output)
        assert not chip.level(REJECT)
        put(output, "reject")
        wait_for(lambda: chip.level(REJECT))
        output.close(0.2)
        assert not chip.level(REJECT)


def test_a_chip_that_is_pulled_fires_no_part_too_late(chip: Bench) -> None:
    gate = {"pulse_ms": 300, "late_ms": 50}
    with driving(chip, reject={"line": "REJECT"}, gate=gate) as output:
        connected(output)
        chip.unplug()
        put(output, "reject")
        wait_for(lambda: not output.status.connected)
        wait_for(lambda: output.counters["missed"] == 1)
        chip.plug()
        connected(output)
        with Scope(chip, REJECT) as scope:
            time.sleep(0.1)
            put(output, "reject")
            wait_for(lambda: scope.ended(1))
    assert len(scope.pulses) == 1
    assert output.counters["fired"] == 1


def test_the_stand_in_has_the_signatures_of_the_real_one() -> None:
    from tests.standin import gpio as standin  # noqa: PLC0415 (needs gpiod)

    ours, real = inspect.signature(standin.request_lines_of({})), inspect.signature(gpiod.request_lines)
    assert list(ours.parameters) == list(real.parameters)
    assert [p.default for p in ours.parameters.values()] == [p.default for p in real.parameters.values()]
    for name in ("release", "set_value", "wait_edge_events", "read_edge_events"):
        own = inspect.signature(getattr(standin.StandInRequest, name))
        theirs = inspect.signature(getattr(gpiod.LineRequest, name))
        assert list(own.parameters) == list(theirs.parameters), name
        assert [p.default for p in own.parameters.values()] == [p.default for p in theirs.parameters.values()]


def test_the_stand_in_refuses_what_the_real_one_refuses(chip: Bench) -> None:
    from gpiod.line import Value  # noqa: PLC0415 (skips where it is missing)

    request = request_lines(chip.path, {"SPARE": input_settings(GpioInput(line="SPARE"))})
    with pytest.raises(PermissionError):
        request.set_value("SPARE", Value.ACTIVE)
    with pytest.raises(ValueError, match="unknown line name"):
        request.set_value("OK", Value.ACTIVE)
    with pytest.raises(ValueError, match="Invalid argument"):
        request.set_value(OK, Value.ACTIVE)
    assert not request.wait_edge_events(0)
    with pytest.raises(OSError, match="busy"):
        gpiod.request_lines(chip.path, {SPARE: None})
    with pytest.raises(ValueError, match="exactly once"):
        gpiod.request_lines(chip.path, {"OK": None, OK: None})
    request.release()
    request.release()
    with pytest.raises(gpiod.RequestReleasedError):
        request.set_value("SPARE", Value.ACTIVE)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ok": {"line": 1}, "fault": {"line": 1}},
        {"ok": {"line": -1}},
        {"ok": {"line": ""}},
        {"ok": 5},
        {"ok": {"line": 1}, "chip": "gpiochip0"},
        {"ok": {"line": 1}, "chip": "/etc/passwd"},
        {"ok": {"line": 1}, "pulse_ms": 5},
    ],
)
def test_output_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GpioOutputOptions.model_validate({"kind": "gpio", **options})


def test_delay_by_encoder_needs_one() -> None:
    options = {"kind": "gpio", "reject": {"line": 1}, "gate": {"delay_counts": 5, "late_counts": 5}}
    with pytest.raises(LineError, match="needs an encoder"):
        GpioOutput(GpioOutputOptions.model_validate(options))
