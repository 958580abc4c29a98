"""Warnings in force: each is an event when it begins and when it ends, and can be read in between."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ast_edge.line.events import EventKind, Told


class Warnings:
    """One sentence per key while it holds; from any thread.

    `told` is asked for at every change, so that it may be set later, and hears `about` (what the warnings are
    about, as details of the event), the key, whether it began, and the sentence.
    """

    def __init__(self, kind: EventKind, about: dict[str, object], told: Callable[[], Told]) -> None:
        self._kind = kind
        self._about = about
        self._told = told
        self._lock = threading.Lock()
        self._now: dict[str, str] = {}

    @property
    def now(self) -> tuple[str, ...]:
        """The sentences in force."""
        with self._lock:
            return tuple(self._now.values())

    @property
    def by_key(self) -> dict[str, str]:
        """The sentences in force by their keys."""
        with self._lock:
            return dict(self._now)

    def holds(self, key: str) -> bool:
        """Whether this warning is in force."""
        with self._lock:
            return key in self._now

    def begin(self, key: str, sentence: str) -> None:
        """The warning holds from now on; only the first of several calls is told."""
        with self._lock:
            began = key not in self._now
            self._now[key] = sentence
        if began:
            self._tell(key, "begin", sentence)

    def end(self, key: str) -> None:
        """The warning does not hold any more; nothing happens where it did not."""
        with self._lock:
            sentence = self._now.pop(key, None)
        if sentence is not None:
            self._tell(key, "end", sentence)

    def _tell(self, key: str, change: str, sentence: str) -> None:
        self._told()(self._kind, {**self._about, "warning": key, "change": change, "text": sentence})
