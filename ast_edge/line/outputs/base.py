"""The interface of outputs: results are accepted at once, and problems of one output delay no other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ast_edge.line.events import Event, Report, ignore
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView


@dataclass(frozen=True, kw_only=True)
class OutputStatus:
    """Status of an output: results delivered, lost and waiting; the last error."""

    connected: bool
    delivered: int = 0
    undelivered: int = 0
    queued: int = 0
    last_error: str = ""


class Output(ABC):
    """A receiver of results. `put` never blocks and never raises; delivery is on a separate thread.

    `start` does not raise if the counterpart is absent: connecting is retried, with backoff, without limit.
    An event is reported through `report` when the connection is made or lost.
    """

    name: str
    report: Report = staticmethod(ignore)

    @abstractmethod
    def start(self, station: StationView) -> None:
        """Start to deliver; `station` provides the status, for heartbeats and states."""

    @abstractmethod
    def put(self, result: PartResult) -> None:
        """Queue one result; from any thread. Results without room in the queue count as undelivered."""

    def note(self, event: Event) -> None:  # noqa: B027 (most outputs report only parts)
        """Queue an event for people; as `put`, but its delivery is not guaranteed."""

    @property
    @abstractmethod
    def status(self) -> OutputStatus:
        """Return the status; from any thread."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Current warnings for people, a sentence each."""
        return ()

    @abstractmethod
    def close(self, timeout_s: float) -> None:
        """Deliver what waits within the timeout, then release everything; a second call does nothing."""
