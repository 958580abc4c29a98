"""Delivers events from their sources to listeners, without blocking either."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import Empty, Full, Queue

from ast_edge.line.events import Event, EventKind

Listener = Callable[[Event], None]
_ROOM = 1000
_RECENT = 50
_POLL_S = 0.1


class Events:
    """`tell` takes microseconds, from any thread; listeners are called in order on one thread.

    Events without room in the queue are dropped and counted. An error in a listener is counted; others still
    run.
    """

    def __init__(self) -> None:
        self._queue: Queue[Event] = Queue(_ROOM)
        self._listeners: list[Listener] = []
        self._closing = threading.Event()
        self.recent: deque[Event] = deque(maxlen=_RECENT)
        self.dropped = self.failed = 0
        self._thread = threading.Thread(target=self._run, name="ast-edge-events", daemon=True)

    def hear(self, listener: Listener) -> None:
        """Register `listener` for every event; before `start`."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def tell(self, kind: EventKind, details: Mapping[str, object]) -> None:
        """Queue an event."""
        event = Event(kind, dict(details), time.time())
        self.recent.append(event)
        try:
            self._queue.put_nowait(event)
        except Full:
            self.dropped += 1

    def close(self, timeout_s: float) -> None:
        """Deliver the events queued so far, within the timeout; a second call does nothing."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                event = self._queue.get(timeout=_POLL_S)
            except Empty:
                if self._closing.is_set():
                    return
                continue
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception:  # noqa: BLE001, PERF203 (no listener may keep an event from another)
                    self.failed += 1
