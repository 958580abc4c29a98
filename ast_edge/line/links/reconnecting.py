"""What every thread that holds a connection does: open it, use it until it breaks, and open it again."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from ast_edge.backoff import Backoff
from ast_edge.errors import sentence
from ast_edge.line.events import Told, nobody


class Reconnecting(ABC):
    """Subclasses say how to connect, serve and disconnect; all of it runs on one thread, which never ends by
    an error. The thread is a daemon: a library that hangs must not keep the process from ending.

    `told` hears when the counterpart comes and goes, as an event of `kind`.
    """

    name: str
    told: Told = staticmethod(nobody)

    def __init__(self, kind: Literal["output", "trigger"], name: str, thread: str, backoff: Backoff) -> None:
        self.name = name
        self._kind = kind
        self._backoff = backoff
        self._connected = False
        self._last_error = ""
        self._thread = threading.Thread(target=self._run, name=thread, daemon=True)

    # ---- what a subclass does, on the thread ---------------------------------------------------------------

    @abstractmethod
    def _connect(self) -> None:
        """Reach the counterpart; any exception means that it is not there."""

    @abstractmethod
    def _serve(self) -> None:
        """Use the connection until it is over; any exception means that the connection is dead.

        Calls `_set_connected` as soon as the counterpart is known to be there.
        """

    @abstractmethod
    def _disconnect(self) -> None:
        """Let go of the counterpart; also after an error, and more than once."""

    @abstractmethod
    def _over(self) -> bool:
        """Whether the thread should end."""

    @abstractmethod
    def _pause(self, seconds: float) -> None:
        """Sleep, or less when `_over` becomes true."""

    def _about(self, *, connected: bool) -> Mapping[str, object]:  # noqa: ARG002 (for subclasses)
        """What else the event about a change says."""
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
        changed, self._connected = connected != self._connected, connected
        if changed:
            about = {self._kind: self.name, "connected": connected, "error": self._last_error}
            self.told(self._kind, {**about, **self._about(connected=connected)})

    def _note_error(self, exc: Exception) -> None:
        self._last_error = sentence(exc)
