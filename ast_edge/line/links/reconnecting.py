"""Base of every thread that holds a connection: opens it, uses it until it breaks, and opens it again."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from ast_edge.backoff import Backoff
from ast_edge.errors import sentence
from ast_edge.line.events import Report, ignore

_REPORT_AGAIN_S, _MOST_SILENT_S = 60.0, 3600.0


class Reconnecting(ABC):
    """Subclasses define how to connect, serve and disconnect, all on one thread that never ends by an error.
    The thread is a daemon: a library that hangs must not keep the process from ending.

    An event of `kind` is reported through `report` when the connection is made or lost, also if it never was
    made: on the first failure, and then at growing intervals while it is down.
    """

    name: str
    report: Report = staticmethod(ignore)

    def __init__(self, kind: Literal["output", "trigger"], name: str, thread: str, backoff: Backoff) -> None:
        self.name = name
        self._kind = kind
        self._backoff = backoff
        self._was_connected: bool | None = None  # unknown before the first attempt
        self._away_since = self._reported_at = 0.0
        self._silent_s = _REPORT_AGAIN_S
        self._last_error = ""
        self._thread = threading.Thread(target=self._run, name=thread, daemon=True)

    @property
    def _connected(self) -> bool:
        return self._was_connected is True

    # ---- what a subclass does, on the thread ---------------------------------------------------------------

    @abstractmethod
    def _connect(self) -> None:
        """Connect; any exception means that the counterpart is unreachable."""

    @abstractmethod
    def _serve(self) -> None:
        """Use the connection until it ends; any exception means that the connection is dead.

        Calls `_set_connected` as soon as the counterpart is known to be reachable.
        """

    @abstractmethod
    def _disconnect(self) -> None:
        """Release the connection; also called after an error, and more than once."""

    @abstractmethod
    def _over(self) -> bool:
        """Whether the thread should end."""

    @abstractmethod
    def _pause(self, seconds: float) -> None:
        """Sleep, ending early when `_over` becomes True."""

    def _about(self, *, connected: bool) -> Mapping[str, object]:  # noqa: ARG002 (for subclasses)
        """Return further details of the event about a change."""
        return {}

    # ---- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over():
            try:
                self._connect()
                self._serve()
            except Exception as exc:  # noqa: BLE001 (whatever the counterpart does, it is tried again)
                self._note_error(exc)
            finally:
                self._let_go()
            if not self._over():
                self._pause(self._backoff.next_s())

    def _let_go(self) -> None:
        self._set_connected(connected=False)
        try:
            self._disconnect()
        except Exception as exc:  # noqa: BLE001 (what is dead may die noisily)
            self._note_error(exc)

    def _set_connected(self, *, connected: bool) -> None:
        """Record the state of the connection; a change is reported."""
        before, self._was_connected = self._was_connected, connected
        if before is None and not connected and self._over():
            return  # stopped before the first attempt
        about: dict[str, object] = {self._kind: self.name, "connected": connected, "error": self._last_error}
        now = time.monotonic()
        if connected != before:
            self._away_since, self._silent_s = now, _REPORT_AGAIN_S
            about.update(self._about(connected=connected))
        elif connected or now - self._reported_at < self._silent_s:
            return
        else:
            about["away_s"] = round(now - self._away_since)
            self._silent_s = min(2 * self._silent_s, _MOST_SILENT_S)
        self._reported_at = now
        self.report(self._kind, about)

    def _note_error(self, exc: Exception) -> None:
        self._last_error = sentence(exc)
