"""The interface of sources of triggers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ast_edge.line.events import Report, ignore
from ast_edge.line.part import Trigger

CLOSE_S = 1.0  # how long `close` waits for a thread


class TriggerSink(Protocol):
    """Receives triggers: the station. From any thread; no call blocks."""

    def trigger(
        self,
        at_ns: int | None = None,
        *,
        until_ns: int | None = None,
        encoder: int | None = None,
        source: str = "software",
        external_id: str | None = None,
    ) -> Trigger:
        """Enter a part at this moment of `time.monotonic_ns()`, by default now.

        If it may have arrived later, until `until_ns`, its picture must be taken after that.
        """

    def missed(self, count: int, source: str, external_ids: Sequence[str] = (), why: str = "") -> None:
        """Enter parts whose triggers were not seen in time: each becomes a fault.

        `external_ids` are the source's own names of them, oldest first, if known; `why` is reported with
        them.
        """

    def uncounted(self, source: str, why: str) -> None:
        """Record that an unknown number of parts passed unseen: counts are incomplete from now on."""


@dataclass(frozen=True, kw_only=True)
class TriggerStatus:
    """Status of a source: triggers reported, triggers known to be missed, messages that were not parts
    (repeated, retained), the last error.
    """

    connected: bool
    triggers: int
    missed: int = 0
    ignored: int = 0
    last_error: str = ""


class TriggerSource(ABC):
    """Reports triggers from its own thread; `report` is called when the connection is made or lost.

    `start` does not raise if the counterpart is absent: connecting is retried, with backoff, without limit.
    """

    name: str
    report: Report = staticmethod(ignore)

    @abstractmethod
    def start(self, sink: TriggerSink) -> None:
        """Start to report triggers."""

    @property
    @abstractmethod
    def status(self) -> TriggerStatus:
        """Return the status; from any thread."""

    @abstractmethod
    def close(self) -> None:
        """Stop: no trigger is reported after this returns, within about a second; a second call does nothing.

        A thread that hangs in a library is abandoned until the process ends.
        """
