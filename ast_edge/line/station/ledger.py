"""The ledger: every trigger is entered once and gets exactly one result, from the first to decide.

A late part is decided by the clock, not by a hanging engine, whose later result is ignored.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from ast_edge.errors import LineError
from ast_edge.line.part import PartResult, Trigger
from ast_edge.line.status import Balance


class Ledger:
    """Open parts in the order of their triggers; from any thread.

    `deliver` receives every result once, in the order of the decisions, and must not block or raise.
    """

    def __init__(self, deliver: Callable[[PartResult], None]) -> None:
        self._deliver = deliver
        self._lock = threading.Lock()
        self._open: dict[int, Trigger] = {}
        self._entered = 0
        self._verdicts: Counter[str] = Counter()
        self._changed = threading.Condition(self._lock)

    def enter(
        self,
        at_ns: int,
        wall_s: float,
        encoder: int | None = None,
        source: str = "software",
        external_id: str | None = None,
        until_ns: int | None = None,
    ) -> Trigger:
        """Enter a part and give it the next number."""
        with self._lock:
            self._entered += 1
            trigger = Trigger(
                number=self._entered,
                at_ns=at_ns,
                wall_s=wall_s,
                encoder=encoder,
                source=source,
                external_id=external_id,
                until_ns=until_ns,
            )
            self._open[trigger.number] = trigger
            return trigger

    def decide(self, result: PartResult) -> bool:
        """Close the part with `result` and deliver it, unless already decided; return whether it did.

        Raises LineError for a part that was never entered.
        """
        with self._lock:
            if result.number > self._entered:
                raise LineError(f"part {result.number} was never triggered; this is a bug of ast-edge.")
            if self._open.pop(result.number, None) is None:
                return False
            self._verdicts[result.verdict] += 1
            # Under the lock: results leave in the order in which they were decided.
            self._deliver(result)
            self._changed.notify_all()
            return True

    def is_open(self, number: int) -> bool:
        """Whether the part still waits for its result."""
        with self._lock:
            return number in self._open

    def overdue(self, before_ns: int) -> list[Trigger]:
        """Return open parts triggered before this moment of the monotonic clock, oldest first."""
        with self._lock:
            return [trigger for trigger in self._open.values() if trigger.at_ns < before_ns]

    def balance(self) -> Balance:
        """Return the current balance."""
        with self._lock:
            return Balance(triggers=self._entered, verdicts=dict(self._verdicts), open=len(self._open))

    def wait_until_settled(self, timeout_s: float) -> bool:
        """Wait until no part is open; return False if some still are."""
        with self._lock:
            return self._changed.wait_for(lambda: not self._open, timeout_s)
