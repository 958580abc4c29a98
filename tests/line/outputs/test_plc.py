"""Verdicts to a PLC that is absent, dies, is slow or sends rubbish: a real server in its own process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ast_edge.line.gate.belt import EncoderReading
from ast_edge.line.outputs.plc import NO_SCORE, PlcOutput
from ast_edge.line.status import Surroundings
from ast_edge.verdict.scoring import Verdict
from benchmarks.line.plc import BLOCK
from tests.line.parts import StillStation, part_result
from tests.line.plcs import KINDS, Kind, KnownPlc, parameters
from tests.line.rig import Remembering
from tests.waiting import wait_for

MS = 1_000_000


@pytest.fixture(params=parameters())
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def plc(kind: Kind, tmp_path: Path) -> Iterator[KnownPlc]:
    with kind.plc(tmp_path) as running:
        yield running


class Heard(list[dict[str, Any]]):
    def __call__(self, kind: str, details: Mapping[str, object]) -> None:
        assert kind == "output"
        self.append(dict(details))

    def of(self, key: str) -> list[object]:
        return [details[key] for details in self if key in details]


@contextmanager
def output_to(plc: KnownPlc, encoder: Any = None, **options: Any) -> Iterator[tuple[PlcOutput, Heard]]:
    """An output with reject bit and block that is closed at the end."""
    given = {**plc.kind.bit, **plc.kind.block, "gate": {"late_ms": 2000}, **options}
    output = plc.output(encoder, **given)
    heard = Heard()
    output.report = heard
    output.start(StillStation())
    try:
        yield output, heard
    finally:
        output.close(5)
        assert not output._thread.is_alive()


def put(output: PlcOutput, *verdicts: Verdict, first: int = 1, ids: int | None = None) -> None:
    for number, verdict in enumerate(verdicts, first):
        external = None if ids is None else str(ids + number)
        output.put(part_result(number, verdict, external_id=external))


def delivered(output: PlcOutput, count: int) -> None:
    wait_for(lambda: output.status.delivered == count)


def test_the_register_map(plc: KnownPlc) -> None:
    with output_to(plc, score_scale=100) as (output, _):
        put(output, "pass", "reject", "fault", ids=70_000)
        delivered(output, 3)
    passed, rejected, fault = plc.results()
    assert (passed.id, passed.verdict, passed.reason, passed.score) == (70_001, 1, 0, 20)
    assert (rejected.id, rejected.verdict, rejected.reason, rejected.score) == (70_002, 2, 0, 200)
    assert (fault.id, fault.verdict, fault.reason, fault.score) == (70_003, 3, 4, NO_SCORE)
    assert (fault.passed, fault.rejected, fault.faults) == (1, 1, 1)
    assert [found.judged for found in plc.results()] == [70_001, 70_002, 70_003]
    assert [found.sequence for found in plc.results()] == [1, 2, 3]


def test_the_heartbeat_beats_while_the_station_runs_and_its_state_is_written(plc: KnownPlc) -> None:
    station = StillStation()

    def beats() -> list[list[int]]:
        return [event["values"][:2] for event in plc.events("registers") if event["address"] == BLOCK + 16]

    output = plc.output(**plc.kind.block, heartbeat_ms=20)
    output.start(station)
    wait_for(lambda: len(beats()) >= 5)
    station.now = replace(station.now, state="stopping")
    wait_for(lambda: len(beats()) >= 3 and beats()[-1][1] == 3 and beats()[-2][1] == 3)
    output.close(5)
    running = [beat for beat, state in beats() if state == 2]
    assert running == list(range(1, len(running) + 1))
    stopping = {beat for beat, state in beats() if state == 3}
    assert stopping == {running[-1]}
    assert beats()[-1] == [running[-1], 0]
    assert not plc.events("coil")


def test_camera_trigger_and_gaps_are_in_the_state_until_acknowledged(plc: KnownPlc) -> None:
    station = StillStation()
    well = station.now
    output = plc.output(**plc.kind.block, heartbeat_ms=20)
    output.start(station)

    def is_in(state: int, condition: int, gaps: int) -> None:
        wait_for(lambda: plc.get(BLOCK + 17, 3) == [state, condition, gaps])

    is_in(2, 0, 0)
    station.now = replace(well, camera="lost", surroundings=Surroundings(trigger="trigger plc is away"))
    is_in(5, 1 | 2, 0)
    (beat,) = plc.get(BLOCK + 16, 1)
    time.sleep(0.2)
    assert plc.get(BLOCK + 16, 1) == [beat]
    station.now = replace(well, gaps=2)
    is_in(6, 16, 2)
    wait_for(lambda: plc.get(BLOCK + 16, 1) != [beat])
    for _ in range(50):  # a heartbeat may be on its way
        plc.set(BLOCK + 19, [0])
        time.sleep(0.2)
        if plc.get(BLOCK + 17, 3) == [2, 0, 0]:
            break
    is_in(2, 0, 0)
    output.close(5)
    assert plc.get(BLOCK + 17, 3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "block"), [("modbus", 18), *parameters(lambda _kind: [23])], indirect=["kind"]
)
def test_gaps_are_written_before_a_result_that_skips_parts(plc: KnownPlc, block: int) -> None:
    """The next heartbeat is a minute away: `judged` = 1500 with few verdicts would be a lie until then."""
    station = StillStation()
    short = {"block": block} if block == 18 else {}
    output = plc.output(**plc.kind.block, **short, heartbeat_ms=60_000)
    output.start(station)
    put(output, "pass", ids=10)
    delivered(output, 1)
    station.now = replace(station.now, gaps=1)
    put(output, "pass", first=2, ids=1498)
    delivered(output, 2)
    output.close(5)
    written = [event for event in plc.events("registers") if event["address"] in (BLOCK, BLOCK + 16)]
    writes = [event["values"] for event in written]
    assert [len(values) for values in writes] == [block - 16, 16, block - 16, 16, block - 16]
    assert [values[1] for values in writes[::2]] == [2, 6, 0]
    if block == 23:
        assert [values[3] for values in writes[::2]] == [0, 1, 1]


def test_a_slow_heartbeat_does_not_give_the_block_away(plc: KnownPlc) -> None:
    """The other station's heartbeat is far slower than this one's: it lives nevertheless."""
    with output_to(plc, name="first", heartbeat_ms=60_000) as (first, _):
        wait_for(lambda: first.status.connected and len(plc.events("registers")) >= 1)
        claim = plc.get(BLOCK + 20, 2)
        with output_to(plc, name="second", heartbeat_ms=20) as (second, _):
            wait_for(lambda: "written by station" in second.status.last_error)
            assert not second.status.connected
        assert plc.get(BLOCK + 20, 2) == claim
        put(first, "pass")
        delivered(first, 1)


def test_the_coil_is_made_off_at_once_and_comes_before_the_registers(plc: KnownPlc) -> None:
    with output_to(plc, gate={"pulse_ms": 500, "late_ms": 2000}) as (output, _):
        wait_for(lambda: plc.events("coil"))
        assert [event["value"] for event in plc.events("coil")] == [False]
        put(output, "pass")
        delivered(output, 1)
        put(output, "reject", first=2)
        delivered(output, 2)
        wait_for(lambda: plc.pulses() and plc.pulses()[0][1])
    writes = [
        event for event in plc.events() if event["kind"] == "coil" or len(event.get("values", [])) == 16
    ]
    kinds = [(event["kind"], event.get("value")) for event in writes]
    assert kinds == [
        ("coil", False),
        ("registers", None),
        ("coil", True),
        ("registers", None),
        ("coil", False),
    ]
    assert output.counters == {"fired": 1, "missed": 0, "untimed": 0, "waiting": 0, "errors": 0}


def test_a_coil_alone_is_kept_alive_without_registers(plc: KnownPlc) -> None:
    with output_to(plc, **dict.fromkeys(plc.kind.block), heartbeat_ms=20) as (output, _):
        wait_for(lambda: len(plc.events("coil")) >= 4)
        put(output, "reject")
        delivered(output, 1)
        wait_for(plc.pulses)
    assert not plc.events("registers")


@pytest.mark.slow
def test_a_pulse_begins_and_ends_although_thousands_of_results_wait(plc: KnownPlc) -> None:
    with output_to(plc, room=10_000, gate={"pulse_ms": 60, "late_ms": 2000}) as (output, _):
        wait_for(lambda: output.status.connected)
        # Made first: they must come faster than the PLC takes them.
        passes = [part_result(number, "pass") for number in range(1, plc.kind.many + 1)]
        for result in passes:
            output.put(result)
        put(output, "reject", first=plc.kind.many + 1)
        wait_for(lambda: output.status.delivered == plc.kind.many + 1, 60)
    ((on, off),) = plc.pulses()
    assert off is not None
    assert off - on >= 59 * MS
    before, during, after = (
        [found for found in plc.results() if begin <= found.at_ns < end]
        for begin, end in ((0, on), (on, off), (off, 1 << 63))
    )
    assert len(before) < plc.kind.many
    assert during
    assert after


def test_delay_by_time(plc: KnownPlc) -> None:
    with output_to(plc, gate={"pulse_ms": 20, "delay_ms": 800, "late_ms": 5000}) as (output, _):
        wait_for(lambda: output.status.connected)
        # Far enough apart that a busy machine does not join the two pulses.
        at = [time.monotonic_ns() - 500 * MS, time.monotonic_ns()]
        output.put(part_result(1, "reject", at_ns=at[0]))
        output.put(part_result(2, "pass", at_ns=at[0]))
        output.put(part_result(3, "fault", at_ns=at[1]))
        wait_for(lambda: output.counters["fired"] == 2)
        wait_for(lambda: len([1 for _, off in plc.pulses() if off]) == 2)
    for (on, _), began in zip(plc.pulses(), at, strict=True):
        assert on >= began + 800 * MS


class Belt:
    """An encoder that runs with time from now on."""

    def __init__(self, speed: float) -> None:
        self.begin, self.speed, self.readable = time.monotonic_ns(), speed, True

    def position(self) -> EncoderReading | None:
        now = time.monotonic_ns()
        count = int(self.speed * (now - self.begin) / 1e9)
        return EncoderReading((65_000 + count) % 65_536, now) if self.readable else None


def test_delay_by_encoder_over_its_wrap(plc: KnownPlc) -> None:
    gate = {"pulse_ms": 20, "delay_counts": 800, "late_counts": 2000, "encoder_bits": 16}
    belt = Belt(2000)
    with output_to(plc, belt, gate=gate) as (output, _):
        wait_for(lambda: output.status.connected)
        seen = belt.position()
        assert seen is not None
        output.put(part_result(1, "reject", encoder=seen.count, at_ns=seen.at_ns))
        wait_for(lambda: output.counters["fired"] == 1)
    ((on, _),) = plc.pulses()
    assert on >= seen.at_ns + 399 * MS
    assert output.counters["untimed"] == 0


def test_a_part_without_encoder_count_fires_at_once_and_that_is_reported(plc: KnownPlc) -> None:
    gate = {"pulse_ms": 20, "delay_counts": 10_000, "late_counts": 200, "late_ms": 2000}
    with output_to(plc, Belt(1), gate=gate) as (output, heard):
        put(output, "fault")
        wait_for(lambda: output.counters["fired"] == 1)
        wait_for(lambda: heard.of("untimed"))
    assert heard.of("untimed") == [1]
    assert "no encoder count" in str(heard.of("why")[0])


def test_a_plc_that_is_absent_at_start_gets_everything_but_the_late_pulses(
    kind: Kind, tmp_path: Path
) -> None:
    plc = kind.plc(tmp_path)
    with output_to(plc, gate={"late_ms": 50}) as (output, heard):
        put(output, "reject", "pass", "fault")
        wait_for(lambda: output.counters["errors"] >= 3)
        wait_for(lambda: heard.of("missed"))
        with plc:
            delivered(output, 3)
            assert "no connection" in output.status.last_error
            assert [found.verdict for found in plc.results()] == [2, 1, 3]
            last = plc.results()[-1]
            assert (last.passed, last.rejected, last.faults) == (1, 1, 1)
            put(output, "reject", first=4)
            wait_for(lambda: output.counters["fired"] == 1)
            output.close(5)
            assert len(plc.pulses()) == 1
    assert sum(heard.of("missed")) == 2  # type: ignore[arg-type]
    assert output.counters["missed"] == 2


def test_a_plc_that_dies_and_comes_back(plc: KnownPlc) -> None:
    with output_to(plc, gate={"pulse_ms": 30, "late_ms": 400}) as (output, heard):
        wait_for(lambda: output.status.connected)
        put(output, "reject", "pass")
        delivered(output, 2)
        plc.kill()
        put(output, "reject", "fault", "pass", first=3)
        wait_for(lambda: not output.status.connected)
        time.sleep(0.5)
        plc.start()
        delivered(output, 5)
        put(output, "fault", first=6)
        delivered(output, 6)
        wait_for(lambda: len(plc.pulses()) == 2 and plc.pulses()[1][1])
    found = plc.results()
    assert [result.verdict for result in found] == [2, 1, 2, 3, 1, 3]
    assert [result.sequence for result in found] == [1, 2, 3, 4, 5, 6]
    assert (found[-1].passed, found[-1].rejected, found[-1].faults) == (2, 2, 2)
    assert heard.of("connected") == [True, False, True, False]
    assert (output.counters["fired"], output.counters["missed"]) == (2, 2)


def test_counters_go_on_over_a_station_that_was_killed(plc: KnownPlc) -> None:
    with output_to(plc) as (output, _):
        put(output, "reject", "pass", ids=500)
        delivered(output, 2)
    with output_to(plc) as (output, _):
        # The second part is judged first: what counts are the parts up to the first gap.
        put(output, "fault", first=2, ids=502)
        delivered(output, 1)
        put(output, "pass", first=1, ids=502)
        delivered(output, 2)
    before, ahead, last = plc.results()[1:]
    assert (before.passed, before.rejected, before.faults, before.judged) == (1, 1, 0, 502)
    assert (ahead.passed, ahead.rejected, ahead.faults, ahead.judged) == (1, 1, 0, 502)
    assert (last.passed, last.rejected, last.faults, last.judged) == (2, 1, 1, 504)
    assert [found.sequence for found in plc.results()] == [1, 2, 3, 4]


def test_counters_and_sequence_wrap_at_32_bits(plc: KnownPlc) -> None:
    plc.set(BLOCK + 6, [0xFFFF] * 10)
    with output_to(plc) as (output, _):
        put(output, "pass", "pass", "reject", ids=0)
        delivered(output, 3)
    last = plc.results()[-1]
    assert (last.passed, last.rejected, last.faults) == (1, 0, (1 << 32) - 1)
    assert (last.judged, last.sequence) == (3, 2)


def test_the_life_counter_wraps_at_16_bits(plc: KnownPlc) -> None:
    plc.set(BLOCK + 20, [0, 0, 0xFFFD])
    with output_to(plc, heartbeat_ms=20) as (output, _):
        wait_for(lambda: 2 <= plc.get(BLOCK + 22, 1)[0] < 0xFFFD)
    lives = [event["values"][6] for event in plc.events("registers") if event["address"] == BLOCK + 16]
    assert lives[:5] == [0xFFFE, 0xFFFF, 0, 1, 2]
    assert "written by" not in output.status.last_error


@pytest.mark.slow
def test_a_plc_that_was_replaced_gets_the_whole_counters(plc: KnownPlc) -> None:
    with output_to(plc) as (output, _):
        put(output, "reject", "pass", ids=40)
        delivered(output, 2)
        plc.kill()
        wait_for(lambda: not output.status.connected)
        plc.start(forget=True)
        put(output, "pass", first=3, ids=40)
        delivered(output, 3)
    (last,) = plc.results()
    assert (last.passed, last.rejected, last.judged, last.sequence) == (2, 1, 43, 3)


def test_a_pulse_that_the_plcs_death_cut_does_not_go_on_for_ever(plc: KnownPlc) -> None:
    with output_to(plc, gate={"pulse_ms": 400, "late_ms": 2000}) as (output, _):
        put(output, "reject")
        wait_for(plc.pulses)
        plc.kill()
        wait_for(lambda: not output.status.connected)
        plc.start()
        wait_for(lambda: output.status.connected)
        wait_for(lambda: plc.pulses()[-1][1])
    assert output.counters["fired"] == 1


def test_more_results_than_fit_keep_the_counters_right(kind: Kind, tmp_path: Path) -> None:
    plc = kind.plc(tmp_path)
    with output_to(plc, room=5) as (output, _):
        for number in range(1, 21):
            put(output, "pass", first=number)
        assert (output.status.queued, output.status.undelivered) == (5, 15)
        with plc:
            delivered(output, 5)
            output.close(5)
            assert [found.passed for found in plc.results()] == [16, 17, 18, 19, 20]


@pytest.mark.parametrize(
    ("kind", "mode"),
    parameters(lambda kind: kind.rubbish),
    indirect=["kind"],
)
def test_a_plc_that_talks_rubbish_is_left_and_taken_again(plc: KnownPlc, mode: str) -> None:
    with output_to(plc, timeout_ms=200, heartbeat_ms=20, gate={"late_ms": 60_000}) as (output, heard):
        wait_for(lambda: output.status.connected)
        plc.spoil(mode)
        put(output, "reject", "pass")
        wait_for(lambda: output.counters["errors"] >= 3)
        assert output.status.delivered == 0
        plc.spoil("ok")
        delivered(output, 2)
        wait_for(lambda: output.counters["fired"] == 1)
    assert plc.results()[-1].sequence == 2
    assert str(plc.port) in output.status.last_error
    assert heard.of("connected")[:2] == [True, False]


def test_a_write_without_an_answer_is_repeated_and_is_the_same(plc: KnownPlc) -> None:
    """The PLC took it and the answer was lost: the same block comes again, with the same sequence."""
    with output_to(plc, **dict.fromkeys(plc.kind.bit), timeout_ms=200, heartbeat_ms=60_000) as (output, _):
        wait_for(lambda: plc.events("registers"))
        for number in range(1, 20):
            plc.spoil("silent")
            put(output, "reject", first=number)
            wait_for(lambda: not output.status.connected)
            plc.spoil("ok")
            delivered(output, number)
            writes = [replace(found, at_ns=0) for found in plc.results() if found.id == number]
            if len(writes) > 1:  # else the claim between two heartbeats met the silence first
                break
        assert len(writes) > 1
        assert len(set(writes)) == 1
        put(output, "pass", first=number + 1)
        delivered(output, number + 1)
    last = plc.results()[-1]
    assert (last.passed, last.rejected, last.sequence) == (1, number, number + 1)


def test_a_slow_plc_delays_no_other_output(plc: KnownPlc) -> None:
    """`put` comes back at once, and the output beside it has everything while the PLC still thinks."""
    beside = Remembering()
    with output_to(plc, timeout_ms=2000) as (output, _):
        wait_for(lambda: output.status.connected)
        plc.spoil("ok", delay_s=0.3)
        began = time.monotonic()
        for number in range(1, 21):
            result = part_result(number, "pass")
            output.put(result)
            beside.put(result)
        assert time.monotonic() - began < 2
        assert len(beside.results) == 20
        assert output.status.delivered < 20
        plc.spoil("ok")
        delivered(output, 20)
    assert output.status.undelivered == 0


def test_close_gives_the_pulse_that_is_due_and_leaves_the_coil_off(plc: KnownPlc) -> None:
    with output_to(plc, gate={"pulse_ms": 50, "delay_ms": 200, "late_ms": 2000}) as (output, _):
        wait_for(lambda: output.status.connected)
        put(output, "reject")
        output.close(20)
    assert len(plc.pulses()) == 1
    assert plc.pulses()[0][1]
    assert output.counters["missed"] == 0


def test_close_ends_in_time_and_counts_what_was_not_fired(plc: KnownPlc) -> None:
    with output_to(plc, gate={"pulse_ms": 60_000, "delay_ms": 60_000}) as (output, heard):
        wait_for(lambda: output.status.connected)
        put(output, "reject")
        output.close(0.2)
        output.close(0.2)
        put(output, "fault", first=2)
    assert not plc.pulses()
    assert (output.counters["missed"], output.counters["waiting"]) == (2, 0)
    assert "stopped" in str(heard.of("why")[-1])


def test_close_cuts_a_pulse_that_lasts_too_long(plc: KnownPlc) -> None:
    with output_to(plc, gate={"pulse_ms": 60_000, "late_ms": 2000}) as (output, _):
        put(output, "reject")
        wait_for(plc.pulses)
        output.close(0.2)
    assert plc.pulses()[0][1]
