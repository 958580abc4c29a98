"""The log: one line per entry, for people and for machines, written without delaying the station."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from dataclasses import replace
from typing import Any

import pytest

from ast_edge.line.events import Event
from ast_edge.line.watching.logs import LineLog, LogOptions
from tests.line.parts import part_result


def lines(log: LineLog, stream: io.StringIO) -> list[str]:
    log.end()
    log.end()
    return stream.getvalue().splitlines()


def test_text_has_a_line_for_every_part_and_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    stream = io.StringIO()
    log = LineLog(LogOptions(), stream)
    log.put(part_result(1))
    log.put(part_result(2, "reject"))
    log.event(Event("camera", {"state": "lost", "error": "line one\nline two\x1b[31m"}, 0.0))
    found = lines(log, stream)
    assert len(found) == 3
    assert "INFO    run-0000001 pass score 0.2 of 1 4.2 ms" in found[0]
    assert "WARNING run-0000002 reject score 2 of 1" in found[1]
    assert r"camera state=lost error=line one\nline two\x1b[31m" in found[2]


def test_the_journal_gets_priorities_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    stream = io.StringIO()
    log = LineLog(LogOptions(), stream)
    log.put(part_result(1, "fault"))
    log.event(Event("failure", {"error": "x"}, 0.0))
    assert [line[:6] for line in lines(log, stream)] == ["<4>run", "<3>fai"]


def test_json_is_json_with_the_facts() -> None:
    stream = io.StringIO()
    log = LineLog(LogOptions(format="json"), stream)
    log.put(part_result(7, "fault", external_id="SN-1"))
    log.event(Event("recipe", {"what": "taken", "time": "an attempt", "level": 3}, 0.0))
    part, event = (json.loads(line) for line in lines(log, stream))
    assert (part["part_id"], part["verdict"], part["external_id"]) == ("run-0000007", "fault", "SN-1")
    assert (part["level"], part["score"]) == ("warning", None)
    assert (event["event"], event["what"], event["level"]) == ("recipe", "taken", "info")
    assert event["time"].startswith("20")


def test_less_than_the_level_is_left_out() -> None:
    stream = io.StringIO()
    log = LineLog(LogOptions(level="warning"), stream)
    log.put(part_result(1))
    log.event(Event("start", {}, 0.0))
    log.put(part_result(2, "reject"))
    assert len(lines(log, stream)) == 1


def test_the_same_fault_for_hours_does_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    stream = io.StringIO()
    log = LineLog(LogOptions(), stream)
    for number in range(1, 1001):
        log.put(part_result(number, "fault"))
    log.put(part_result(1001))
    found = lines(log, stream)
    assert len(found) == 12  # the 1st, 2nd, 4th ... 512th, how many more, and the pass
    assert "(1 more of these were not logged)" in found[2]
    assert "WARNING 488 more faults up to here were not logged" in found[-2]
    assert "not logged" not in found[-1]


def faults(log: LineLog, *reasons: str) -> None:
    for number, reason in enumerate(reasons):
        log.put(replace(part_result(number, "fault"), reason=reason))


def test_what_differs_in_numbers_or_alternates_is_thinned_out_too() -> None:
    stream = io.StringIO()
    log = LineLog(LogOptions(), stream)
    faults(log, *(f"the verdict took {200 + n} ms, 200 ms are allowed" for n in range(128)))
    faults(
        log, *("no frame arrived in time (camera lost)", "no frame arrived in time (camera stalled)") * 128
    )
    found = lines(log, stream)
    assert len(found) == 8 + 2 * 8
    assert "the verdict took 327 ms" in found[7]


def test_after_a_judged_part_a_fault_is_news_and_a_pass_tells_of_itself_only() -> None:
    stream = io.StringIO()
    log = LineLog(LogOptions(), stream)
    faults(log, *["cable"] * 3)
    log.put(part_result(9))
    faults(log, "cable")
    found = lines(log, stream)
    assert [("fault" in line, "not logged" in line) for line in found] == [
        (True, False),
        (True, False),
        (True, True),
        (False, False),
        (True, False),
    ]


def test_a_failure_at_every_part_does_not_fill_the_disk_and_other_events_are_all_logged() -> None:
    stream = io.StringIO()
    log = LineLog(LogOptions(format="json"), stream)
    for number in range(1000):
        log.event(Event("failure", {"where": "output plc", "error": f"KeyError: {number}"}, 0.0))
    for _ in range(20):
        log.event(Event("recipe", {"taken": "cap"}, 0.0))
    found = [json.loads(line) for line in lines(log, stream)]
    assert [line["event"] for line in found].count("failure") == 10
    assert found[9]["not_logged"] == 255
    assert [line["event"] for line in found].count("recipe") == 20


def test_endlessly_many_reasons_take_no_memory() -> None:
    log = LineLog(LogOptions(), io.StringIO())
    faults(log, *("x" * n for n in range(1, 190)))
    assert len(log._faults._seen) <= 64
    log.end()


def test_rejects_are_never_thinned_out() -> None:
    stream = io.StringIO()
    log = LineLog(LogOptions(), stream)
    for number in range(100):
        log.put(part_result(number, "reject"))
    assert len(lines(log, stream)) == 100


@pytest.mark.slow
def test_a_reader_that_does_not_read_delays_no_part() -> None:
    """The stream is a pipe that is full."""
    reading, writing = os.pipe()
    # What the stream holds at the end has nowhere to go.
    with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w") as stream:
        log = LineLog(LogOptions(format="json"), stream)
        started = time.monotonic()
        for number in range(30_000):
            log.put(part_result(1) if number == 0 else _SOME)
        assert time.monotonic() - started < 30
        assert log.status.undelivered > 10_000
        started = time.monotonic()
        log.end()
        assert time.monotonic() - started < 30
        os.close(reading)
        log._thread.join(20)


_SOME: Any = part_result(2, "reject")
