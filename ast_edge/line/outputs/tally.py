"""Values for a PLC besides the part itself: counters, and up to which part everything is judged."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ast_edge.line.part import PartResult
from ast_edge.verdict.scoring import Verdict

WORD32 = 1 << 32
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True)
class Totals:
    """Counters modulo 2^32, and the id of the last part before which every part has its verdict.

    `judged` is None until a part in the counters had a number from its source.
    """

    passed: int = 0
    rejected: int = 0
    faults: int = 0
    judged: int | None = None

    def plus(self, verdict: Verdict, given: int | None) -> Totals:
        """Return the totals after one more part, with the number from its source."""
        judged = self.judged if given is None else given
        if verdict == "pass":
            return replace(self, passed=(self.passed + 1) % WORD32, judged=judged)
        if verdict == "reject":
            return replace(self, rejected=(self.rejected + 1) % WORD32, judged=judged)
        return replace(self, faults=(self.faults + 1) % WORD32, judged=judged)


def given_id(result: PartResult) -> int | None:
    """Return the part's 32-bit number from the trigger's source; None without one."""
    given = result.trigger.external_id or ""
    return int(given) if _NUMBER.fullmatch(given) and int(given) < WORD32 else None


def plc_id(result: PartResult) -> int:
    """Return the part's 32-bit number from the trigger's source, else the trigger's own."""
    given = given_id(result)
    return result.number % WORD32 if given is None else given


class Tally:
    """Adds up results in the order of their triggers, regardless of the order of their verdicts.

    A verdict that comes before an earlier part's waits here, so that counters and `judged` are always
    consistent: if the station dies at any moment, the PLC has the correct values for all parts up to
    `judged`, and later ones are still to be accounted for.
    """

    def __init__(self) -> None:
        self._ahead: dict[int, tuple[Verdict, int | None]] = {}
        self._next = 1
        self.totals = Totals()

    def enter(self, result: PartResult) -> Totals:
        """Add one result; return the totals after it."""
        self._ahead[result.number] = (result.verdict, given_id(result))
        while self._next in self._ahead:
            verdict, given = self._ahead.pop(self._next)
            self.totals = self.totals.plus(verdict, given)
            self._next += 1
        return self.totals
