"""A valve between a source of triggers and the station: once shut, no thread gets a trigger through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ast_edge.line.triggers.base import TriggerSink


class Tap:
    """Forwards triggers to a sink; nothing is forwarded after `shut` has returned. From any thread.

    Every call returns whether it was forwarded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sink: TriggerSink | None = None

    def open(self, sink: TriggerSink) -> None:
        """Forward triggers to `sink` from now on."""
        self._sink = sink

    def shut(self) -> None:
        """Forward nothing more."""
        with self._lock:
            self._sink = None

    def trigger(
        self,
        at_ns: int,
        *,
        until_ns: int | None = None,
        encoder: int | None = None,
        source: str,
        external_id: str | None = None,
    ) -> bool:
        """Forward a trigger; see `TriggerSink`."""
        return self._through(
            lambda sink: sink.trigger(
                at_ns, until_ns=until_ns, encoder=encoder, source=source, external_id=external_id
            )
        )

    def missed(self, count: int, source: str, external_ids: Sequence[str] = (), why: str = "") -> bool:
        """Forward missed parts; see `TriggerSink`."""
        return self._through(lambda sink: sink.missed(count, source, external_ids, why))

    def uncounted(self, source: str, why: str) -> bool:
        """Forward that parts went by uncounted; see `TriggerSink`."""
        return self._through(lambda sink: sink.uncounted(source, why))

    def _through(self, call: Callable[[TriggerSink], object]) -> bool:
        with self._lock:
            if self._sink is None:
                return False
            call(self._sink)
            return True
