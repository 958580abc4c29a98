"""What every output is to the line: it takes results at once, and nothing it suffers delays anybody else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ast_edge.line.events import Event, Told, nobody
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView


@dataclass(frozen=True, kw_only=True)
class OutputStatus:
    """How an output is doing: results delivered, lost for good, and waiting; the last error in words."""

    connected: bool
    delivered: int = 0
    undelivered: int = 0
    queued: int = 0
    last_error: str = ""


class Output(ABC):
    """A receiver of results. `put` never blocks and never raises; delivery is on a thread of its own.

    `start` does not raise for a counterpart that is absent: it is tried again, with backoff, for ever.
    `told` hears when the counterpart comes and goes.
    """

    name: str
    told: Told = staticmethod(nobody)

    @abstractmethod
    def start(self, station: StationView) -> None:
        """Begin to deliver; `station` says how the line is, for heartbeats and states."""

    @abstractmethod
    def put(self, result: PartResult) -> None:
        """Hand over one result; from any thread. What finds no room is counted as undelivered."""

    def note(self, event: Event) -> None:  # noqa: B027 (most outputs tell of parts only)
        """Hand over an event that people should see; as `put`, but nothing depends on its arrival."""

    @property
    @abstractmethod
    def status(self) -> OutputStatus:
        """From any thread."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What people should look at, a sentence each."""
        return ()

    @abstractmethod
    def close(self, timeout_s: float) -> None:
        """Deliver what waits, for at most this long, then let go; a second call does nothing."""
