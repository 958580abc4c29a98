"""What every source of triggers is to the line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ast_edge.line.events import Told, nobody
from ast_edge.line.part import Trigger

CLOSE_S = 1.0  # how long `close` waits for a thread


class TriggerSink(Protocol):
    """Who takes triggers: the station. From any thread; neither call blocks."""

    def trigger(
        self,
        at_ns: int | None = None,
        *,
        until_ns: int | None = None,
        encoder: int | None = None,
        source: str = "software",
        external_id: str | None = None,
    ) -> Trigger:
        """A part is there, at this moment of `time.monotonic_ns()`, now by default.

        Where it may have come later, until `until_ns`, a picture must be taken after that.
        """

    def missed(self, count: int, source: str, external_ids: Sequence[str] = (), why: str = "") -> None:
        """So many parts went by without a trigger that could be seen in time: each becomes a fault.

        `external_ids` are what the source calls them, oldest first, where it knows; `why` is told with them.
        """

    def uncounted(self, source: str, why: str) -> None:
        """An unknown number of parts went by unseen: what the line counts is not whole from now on."""


@dataclass(frozen=True, kw_only=True)
class TriggerStatus:
    """How a source is doing: triggers given, triggers it knows to have missed, messages that were no parts
    (sent again, retained), the last error in words.
    """

    connected: bool
    triggers: int
    missed: int = 0
    ignored: int = 0
    last_error: str = ""


class TriggerSource(ABC):
    """Gives triggers from a thread of its own; `told` hears when the connection comes and goes.

    `start` does not raise for a counterpart that is absent: it is tried again, with backoff, for ever.
    """

    name: str
    told: Told = staticmethod(nobody)

    @abstractmethod
    def start(self, sink: TriggerSink) -> None:
        """Begin to give triggers."""

    @property
    @abstractmethod
    def status(self) -> TriggerStatus:
        """From any thread."""

    @abstractmethod
    def close(self) -> None:
        """No trigger comes after this returns, within about a second; a second call does nothing.

        A thread that hangs in a library is left to the end of the process.
        """
