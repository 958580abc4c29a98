"""Active warnings: each is reported as an event when it begins and ends, and can be read in between."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ast_edge.line.events import EventKind, Report


class Warnings:
    """One sentence per key while it is active; from any thread.

    `report` is called at every change to get the current reporting function, so that it may be set later. The
    event has the details `about` (the subject of the warnings), the key, whether the warning began, and the
    sentence.
    """

    def __init__(self, kind: EventKind, about: dict[str, object], report: Callable[[], Report]) -> None:
        self._kind = kind
        self._about = about
        self._report = report
        self._lock = threading.Lock()
        self._now: dict[str, str] = {}

    @property
    def now(self) -> tuple[str, ...]:
        """The active sentences."""
        with self._lock:
            return tuple(self._now.values())

    @property
    def by_key(self) -> dict[str, str]:
        """The active sentences by key."""
        with self._lock:
            return dict(self._now)

    def holds(self, key: str) -> bool:
        """Whether this warning is active."""
        with self._lock:
            return key in self._now

    def begin(self, key: str, sentence: str) -> None:
        """Activate the warning; only the first of several calls is reported."""
        with self._lock:
            began = key not in self._now
            self._now[key] = sentence
        if began:
            self._tell(key, "begin", sentence)

    def end(self, key: str) -> None:
        """Deactivate the warning; does nothing if it is not active."""
        with self._lock:
            sentence = self._now.pop(key, None)
        if sentence is not None:
            self._tell(key, "end", sentence)

    def _tell(self, key: str, change: str, sentence: str) -> None:
        self._report()(self._kind, {**self._about, "warning": key, "change": change, "text": sentence})
