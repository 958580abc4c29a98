"""What every output is to the line: it takes results at once, and nothing it suffers delays anybody else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ast_edge.line.part import PartResult


@dataclass(frozen=True)
class OutputStatus:
    """How an output is doing: results delivered, lost for good, and waiting; the last error in words."""

    connected: bool
    delivered: int
    undelivered: int
    queued: int
    last_error: str


class Output(ABC):
    """A receiver of results. `put` never blocks and never raises; delivery is on a thread of its own.

    `start` does not raise for a counterpart that is absent: it is tried again, with backoff, for ever.
    """

    name: str

    @abstractmethod
    def start(self) -> None:
        """Begin to deliver."""

    @abstractmethod
    def put(self, result: PartResult) -> None:
        """Hand over one result; from any thread. What finds no room is counted as undelivered."""

    @property
    @abstractmethod
    def status(self) -> OutputStatus:
        """From any thread."""

    @abstractmethod
    def close(self, timeout_s: float) -> None:
        """Deliver what waits, for at most this long, then let go; a second call does nothing."""
