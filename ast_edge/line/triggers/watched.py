"""A source of triggers polled by its own thread, and opened again after errors."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence

from typing_extensions import override

from ast_edge.backoff import Backoff
from ast_edge.line.gate.belt import EncoderReading
from ast_edge.line.links.reconnecting import Reconnecting
from ast_edge.line.triggers.base import CLOSE_S, TriggerSink, TriggerSource, TriggerStatus
from ast_edge.line.triggers.tap import Tap

_UNSEEN = "they arrived between two polls or while there was no connection"


class WatchedTrigger(Reconnecting, TriggerSource):
    """Subclasses define how to connect, poll and disconnect; see `Reconnecting`.

    It is an encoder too (`position`), if the subclass sets `_reading`.
    """

    def __init__(self, name: str) -> None:
        super().__init__("trigger", name, f"ast-edge-trigger-{name}", Backoff(0.05, 1.0))
        self._closing = threading.Event()
        self._triggers = self._missed = 0
        self._reading: EncoderReading | None = None
        self._connected_before = False
        self._fresh = True  # whether the next poll is the first of its connection
        self._tap = Tap()

    # ---- what a subclass does, on the trigger's own thread -------------------------------------------------

    @abstractmethod
    def _look(self) -> None:
        """Report the triggers found."""

    @abstractmethod
    def _rest(self) -> None:
        """Wait briefly for the next poll; `close` waits for it."""

    def _unknown(self) -> str:
        """Describe what is unknown about the time before a connection; empty if nothing is."""
        return ""

    # ---- TriggerSource -------------------------------------------------------------------------------------

    @override
    def start(self, sink: TriggerSink) -> None:
        self._tap.open(sink)
        self._thread.start()

    @property
    @override
    def status(self) -> TriggerStatus:
        return TriggerStatus(
            connected=self._connected,
            triggers=self._triggers,
            missed=self._missed,
            last_error=self._last_error,
        )

    def position(self) -> EncoderReading | None:
        """Return the reading of the last poll; None without connection or encoder."""
        return self._reading

    @override
    def close(self) -> None:
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)
        self._tap.shut()

    # ---- the thread ----------------------------------------------------------------------------------------

    def _over(self) -> bool:
        return self._closing.is_set()

    def _pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def _serve(self) -> None:
        """Poll until the connection ends or the source is closed."""
        self._fresh = True
        while not self._closing.is_set():
            self._look()
            if not self._fresh:
                self._backoff.reset()
            self._fresh = False
            self._set_connected(connected=True)
            self._rest()

    def _let_go(self) -> None:
        self._reading = None
        super()._let_go()

    def _about(self, *, connected: bool) -> Mapping[str, object]:
        unknown = self._unknown() if connected else ""
        if unknown and self._connected_before:
            self._uncounted(unknown)
        self._connected_before = self._connected_before or connected
        return {"unknown": unknown} if unknown else {}

    def _give(
        self,
        at_ns: int,
        *,
        until_ns: int | None = None,
        encoder: int | None,
        external_id: str | None = None,
    ) -> None:
        """Report a part."""
        self._triggers += self._tap.trigger(
            at_ns, until_ns=until_ns, encoder=encoder, source=self.name, external_id=external_id
        )

    def _uncounted(self, why: str) -> None:
        """Report that an unknown number of parts was not seen."""
        self._tap.uncounted(self.name, why)

    def _miss(self, count: int, external_ids: Sequence[str] = (), why: str = "") -> None:
        """Report a number of parts as missed; `why` is reported even if the number is unknown."""
        if count and self._tap.missed(count, self.name, external_ids, why):
            self._missed += count
        if count or why:
            self.report("trigger", {"trigger": self.name, "missed": count, "why": why or _UNSEEN})
