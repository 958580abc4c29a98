"""An output with a bounded queue, and a thread that connects, delivers, and reconnects without limit."""

from __future__ import annotations

import threading
import time
from collections import deque

from typing_extensions import override

from ast_edge.backoff import Backoff
from ast_edge.line.events import Event
from ast_edge.line.links.reconnecting import Reconnecting
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView

_NEVER_S = 3600.0


class QueuedOutput(Reconnecting, Output):
    """Subclasses define how to connect, deliver one result, and disconnect; see `Reconnecting`.

    A result whose delivery raises is retried after the next connection, so a counterpart may receive it
    twice, but never misses it unless more than `room` wait: then the oldest is dropped and counted.
    """

    # How long `close` waits, in addition to its timeout, for a request in progress.
    grace_s = 1.0

    def __init__(self, name: str, *, room: int = 1000, backoff: Backoff | None = None) -> None:
        super().__init__("output", name, f"ast-edge-{name}", backoff or Backoff(0.1, 5.0))
        self._room = room
        self._queue: deque[PartResult | Event] = deque()
        self._news = threading.Condition()
        self._delivered = self._undelivered = 0
        self._end: float | None = None  # deadline of `close`; None while running
        self.station: StationView | None = None

    # ---- what a subclass does, on the output's own thread --------------------------------------------------

    def _deliver(self, result: PartResult) -> None:
        """Deliver one result; any exception means that the connection is dead and the result waits.

        Not needed by a subclass whose `_serve` delivers in its own way.
        """
        raise NotImplementedError

    def _announce(self, event: Event) -> None:
        """Deliver an event, like `_deliver`; does nothing by default."""

    def _tick(self) -> float:
        """Called between results while connected; return the seconds until the next call, at the latest.

        For heartbeats and scheduled actions. An exception means that the connection is dead.
        """
        return _NEVER_S

    def _busy(self) -> bool:
        """Whether `close` should wait, within its timeout, although no result waits; from any thread."""
        return False

    # ---- Output --------------------------------------------------------------------------------------------

    @override
    def start(self, station: StationView) -> None:
        self.station = station
        self._thread.start()

    @override
    def put(self, result: PartResult) -> None:
        self._add(result.without_pictures())

    @override
    def note(self, event: Event) -> None:
        self._add(event)

    @property
    @override
    def status(self) -> OutputStatus:
        with self._news:
            waiting = sum(isinstance(item, PartResult) for item in self._queue)
            return OutputStatus(
                connected=self._connected,
                delivered=self._delivered,
                undelivered=self._undelivered,
                queued=waiting,
                last_error=self._last_error,
            )

    def close(self, timeout_s: float) -> None:
        """Close the output; results that could not be delivered in time count as undelivered."""
        with self._news:
            if self._end is None:
                self._end = time.monotonic() + timeout_s
            self._news.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s + self.grace_s)
        with self._news:
            self._undelivered += sum(isinstance(item, PartResult) for item in self._queue)
            self._queue.clear()

    # ---- the thread ----------------------------------------------------------------------------------------

    def _add(self, item: PartResult | Event) -> None:
        with self._news:
            if self._end is not None:
                self._undelivered += isinstance(item, PartResult)
                return
            if len(self._queue) >= self._room:
                self._undelivered += isinstance(self._queue.popleft(), PartResult)
            self._queue.append(item)
            self._news.notify_all()

    def _over(self) -> bool:
        """Whether `close` was called and nothing waits any more, or its time is up."""
        if self._end is None:
            return False
        return time.monotonic() >= self._end or (not self._queue and not self._busy())

    def _serve(self) -> None:
        """Deliver until the output is closed."""
        self._set_connected(connected=True)
        while True:
            wait_s = self._tick()
            with self._news:
                if self._over():
                    return
                if not self._queue:
                    self._news.wait(wait_s if self._end is None else min(wait_s, 0.05))
                item = self._queue[0] if self._queue else None
            if item is not None:
                self._hand_over(item)

    def _hand_over(self, item: PartResult | Event) -> None:
        if isinstance(item, PartResult):
            self._deliver(item)
        else:
            self._announce(item)
        self._settle(item)

    def _settle(self, item: PartResult | Event) -> None:
        """Remove the first item of the queue, which was delivered."""
        self._backoff.reset()
        with self._news:
            self._delivered += isinstance(item, PartResult)
            # If the queue overflowed meanwhile, it has already dropped the item.
            if self._queue and self._queue[0] is item:
                self._queue.popleft()
            elif isinstance(item, PartResult):
                self._undelivered -= 1

    def _pause(self, seconds: float) -> None:
        """Sleep, ending early when `close` is called."""
        end = time.monotonic() + seconds
        with self._news:
            while (left := end - time.monotonic()) > 0 and not self._over():
                self._news.wait(left if self._end is None else min(left, 0.05))
