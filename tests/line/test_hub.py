"""Events: reported once and in order, without waiting for a listener."""

from __future__ import annotations

import threading

from ast_edge.line.events import Event
from ast_edge.line.hub import Events


def test_every_listener_hears_in_order_and_one_that_raises_spoils_nothing() -> None:
    events, heard = Events(), list[Event]()

    def raise_it(event: Event) -> None:
        raise ValueError(event.kind)

    events.hear(raise_it)
    events.hear(heard.append)
    events.start()
    for number in range(50):
        events.tell("failure", {"number": number})
    events.close(20)
    events.close(20)
    assert [event.details["number"] for event in heard] == list(range(50))
    assert events.failed == 50
    assert events.recent[-1].details == {"number": 49}


def test_a_listener_that_hangs_delays_no_other_and_its_losses_are_counted() -> None:
    events, release = Events(), threading.Event()

    def hang(_: Event) -> None:
        release.wait(20)

    events.hear(hang)
    events.start()
    for number in range(1500):
        events.tell("camera", {"number": number})
    assert 490 <= events.dropped <= 500
    release.set()
    events.close(20)


def test_details_are_those_of_the_moment() -> None:
    events, details = Events(), {"state": "live"}
    events.tell("camera", details)
    details["state"] = "lost"
    assert events.recent[0].details == {"state": "live"}
    events.close(1)
