"""An output behind a queue: delivery, retries after errors, and counted losses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import pytest

from ast_edge.backoff import Backoff
from ast_edge.errors import LineError
from ast_edge.line.events import Event
from ast_edge.line.links import reconnecting
from ast_edge.line.outputs.queued import QueuedOutput
from tests.line.parts import StillStation, part_result
from tests.waiting import wait_for


class Bench(QueuedOutput):
    """Delivers into a list; the test says what goes wrong and how long it takes."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__("bench", room=room, backoff=Backoff(0.001, 0.01))
        self.delivered: list[int] = []
        self.events: list[Event] = []
        self.ticks: list[float] = []
        self.tick_s = 3600.0
        self.is_busy = False
        self.connects = self.disconnects = 0
        self.on_connect: Callable[[], None] = lambda: None
        self.on_deliver: Callable[[int], None] = lambda _: None
        self.heard: list[Mapping[str, object]] = []
        self.report = lambda _, details: self.heard.append(details)

    def _connect(self) -> None:
        self.connects += 1
        self.on_connect()

    def _deliver(self, result: object) -> None:
        number: int = result.number  # type: ignore[attr-defined]
        self.on_deliver(number)
        self.delivered.append(number)

    def _announce(self, event: Event) -> None:
        self.events.append(event)

    def _tick(self) -> float:
        self.ticks.append(time.monotonic())
        return self.tick_s

    def _busy(self) -> bool:
        return self.is_busy

    def _disconnect(self) -> None:
        self.disconnects += 1


def put(output: QueuedOutput, *numbers: int) -> None:
    for number in numbers:
        output.put(part_result(number))


def event(name: str = "start") -> Event:
    return Event("operator", {"what": name}, time.time())


def test_results_and_events_arrive_in_order() -> None:
    output = Bench()
    output.start(StillStation())
    put(output, 1, 2)
    output.note(event())
    put(output, 3)
    wait_for(lambda: output.status.delivered == 3)
    assert output.status.connected
    output.close(5)
    assert output.delivered == [1, 2, 3]
    assert len(output.events) == 1
    assert (output.status.undelivered, output.status.queued) == (0, 0)
    assert not output.status.connected


def test_what_fails_is_delivered_again_after_the_next_connection() -> None:
    output = Bench()
    failing = iter([True, True, False, True, False, False])

    def spoil(_: int) -> None:
        if next(failing, False):
            raise ValueError("the wire is out")

    output.on_deliver = spoil
    output.start(StillStation())
    put(output, 1, 2, 3)
    wait_for(lambda: output.status.delivered == 3)
    output.close(5)
    assert output.delivered == [1, 2, 3]
    assert output.connects == output.disconnects == 4
    assert output.status.undelivered == 0
    assert output.status.last_error == "ValueError: the wire is out"


def test_a_counterpart_that_is_absent_at_start_gets_everything_later() -> None:
    output = Bench()
    there = threading.Event()

    def refuse() -> None:
        if not there.is_set():
            raise LineError("connection refused.")

    output.on_connect = refuse
    output.start(StillStation())
    put(output, 1, 2)
    wait_for(lambda: output.connects >= 3)
    status = output.status
    assert (status.connected, status.queued, status.last_error) == (False, 2, "connection refused.")
    there.set()
    wait_for(lambda: output.status.delivered == 2)
    output.close(5)
    assert output.delivered == [1, 2]


def test_the_oldest_result_gives_way_and_is_counted() -> None:
    output = Bench(room=3)
    put(output, 1, 2)
    output.note(event())
    put(output, 3, 4, 5)  # pushes out 1, 2, and then the event, which is not counted
    assert (output.status.queued, output.status.undelivered) == (3, 2)
    output.start(StillStation())
    wait_for(lambda: output.status.delivered == 3)
    output.close(5)
    assert output.delivered == [3, 4, 5]
    assert output.status.undelivered == 2


def test_a_result_that_is_pushed_out_while_it_is_delivered_counts_once() -> None:
    output = Bench(room=2)
    delivering, go_on = threading.Event(), threading.Event()

    def hold(_: int) -> None:
        delivering.set()
        go_on.wait(20)

    output.on_deliver = hold
    output.start(StillStation())
    put(output, 1)
    assert delivering.wait(20)
    put(output, 2, 3)
    assert output.status.undelivered == 1
    go_on.set()
    wait_for(lambda: output.status.delivered == 3)
    output.close(5)
    assert output.status.undelivered == 0
    assert output.delivered == [1, 2, 3]


def test_close_delivers_what_waits() -> None:
    output = Bench()
    output.on_deliver = lambda _: time.sleep(0.005)
    output.start(StillStation())
    put(output, *range(1, 21))
    output.close(20)
    output.close(20)
    assert output.delivered == list(range(1, 21))


def test_close_ends_in_time_and_counts_what_is_left() -> None:
    output = Bench()

    def refuse() -> None:
        raise LineError("connection refused.")

    output.on_connect = refuse
    output.start(StillStation())
    put(output, 1, 2, 3)
    began = time.monotonic()
    output.close(0.2)
    assert time.monotonic() - began < 10
    assert output.status.undelivered == 3
    assert not output._thread.is_alive()
    put(output, 4)
    assert (output.status.undelivered, output.status.queued) == (4, 0)


def test_close_without_start_counts_too() -> None:
    output = Bench()
    put(output, 1)
    output.close(1)
    assert output.status.undelivered == 1


@pytest.mark.parametrize("ends_itself", [True, False])
def test_close_waits_for_work_that_is_not_in_the_queue(ends_itself: bool) -> None:
    output = Bench()
    output.is_busy = True
    output.start(StillStation())
    wait_for(lambda: output.ticks)
    closing = threading.Thread(target=output.close, args=(20.0 if ends_itself else 0.3,))
    closing.start()
    time.sleep(0.1)
    assert output.status.connected
    output.is_busy = not ends_itself
    closing.join(20)
    assert not closing.is_alive()
    assert not output.status.connected


def test_ticks_come_when_they_are_wanted_and_before_a_result_waits_long() -> None:
    output = Bench()
    output.tick_s = 0.02
    output.start(StillStation())
    wait_for(lambda: len(output.ticks) >= 10)
    output.close(5)
    spans = [after - before for before, after in zip(output.ticks[:9], output.ticks[1:10], strict=True)]
    assert sorted(spans)[len(spans) // 2] >= 0.015


def test_a_tick_comes_between_any_two_results() -> None:
    output = Bench()
    seen: list[int] = []
    output.on_deliver = lambda _: seen.append(len(output.ticks))
    put(output, *range(1, 11))
    output.start(StillStation())
    wait_for(lambda: output.status.delivered == 10)
    output.close(5)
    assert len(set(seen)) == 10


def test_a_tick_that_raises_is_a_dead_connection() -> None:
    output = Bench()
    output.start(StillStation())
    wait_for(lambda: output.status.connected)
    with output._news:
        output._tick = lambda: 1 / 0  # type: ignore[method-assign]
        output._news.notify_all()
    put(output, 1)
    wait_for(lambda: output.connects >= 3)
    assert "ZeroDivisionError" in output.status.last_error
    output.close(1)


def test_a_disconnect_that_raises_is_only_noted() -> None:
    output = Bench()
    output._disconnect = lambda: 1 / 0  # type: ignore[method-assign, assignment]
    output.start(StillStation())
    put(output, 1)
    wait_for(lambda: output.status.delivered == 1)
    output.close(5)
    assert "ZeroDivisionError" in output.status.last_error


def test_connecting_and_disconnecting_are_reported() -> None:
    output = Bench()

    def spoil(number: int) -> None:
        if number == 1 and output.connects == 1:
            raise LineError("the wire is out.")

    output.on_deliver = spoil
    output.start(StillStation())
    put(output, 1)
    wait_for(lambda: output.status.delivered == 1)
    output.close(5)
    assert [details["connected"] for details in output.heard] == [True, False, True, False]
    assert output.heard[2]["error"] == "the wire is out."


def test_a_counterpart_that_never_answers_is_reported_once_and_then_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconnecting, "_REPORT_AGAIN_S", 0.3)
    output = Bench()

    def refuse() -> None:
        raise LineError("connection refused.")

    output.on_connect = refuse
    output.start(StillStation())
    wait_for(lambda: output.connects > 5)
    assert [(details["connected"], details["error"]) for details in output.heard] == [
        (False, "connection refused.")
    ]
    began = time.monotonic()
    wait_for(lambda: len(output.heard) >= 3)
    assert time.monotonic() - began > 0.6  # 0.3 s, then 0.6 s, then 1.2 s
    assert "away_s" in output.heard[1]
    output.on_connect = lambda: None
    wait_for(lambda: output.status.connected)
    output.close(5)
    assert [details["connected"] for details in output.heard] == [False, False, False, True, False]
