"""Acceptance of a model by its error rates, for a sign-off.

A limit is met when the rate's one-sided upper bound (Clopper and Pearson, 95 % confidence) is not above it:
too few parts cannot show a low rate, however well all of them were judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from ast_edge.data import GOOD
from ast_edge.errors import UsageError
from ast_edge.verdict.rates import CONFIDENCE, parts_to_show, rate_at_most
from ast_edge.verdict.scoring import Verdict
from ast_edge.verdict.threshold import percent
from ast_edge.wording import share_text


@dataclass(frozen=True)
class Limits:
    """The largest acceptable rates in percent; None for a rate without a limit. UsageError if impossible."""

    escapes: float | None = None
    false_rejects: float | None = None

    def __post_init__(self) -> None:
        for option, value in (
            ("--accept-escapes", self.escapes),
            ("--accept-false-rejects", self.false_rejects),
        ):
            if value is not None and not 0 < value < 100:
                raise UsageError(
                    f"{option} {value:g}: expected a percentage above 0 and below 100; no number of parts "
                    "can show that a rate is 0."
                )

    def check(self, kinds: Collection[str]) -> None:
        """UsageError for a limit on a rate that no part of these kinds shows."""
        if self.escapes is not None and not set(kinds) - {GOOD}:
            raise UsageError(
                "--accept-escapes: there is no defective part in the data; add some or leave the option out."
            )
        if self.false_rejects is not None and GOOD not in kinds:
            raise UsageError(
                "--accept-false-rejects: there is no good part in the data; add some or leave the option out."
            )


class ErrorCounts(NamedTuple):
    """Verdicts on labelled parts. A fault counts as rejected: on a good part it is a false reject."""

    good: int
    defective: int
    false_rejects: int
    escapes: int
    good_faults: int
    defective_faults: int


def count_errors(labelled: Iterable[tuple[str, Verdict]]) -> ErrorCounts:
    """Count kinds with the verdicts on them."""
    found = Counter((kind == GOOD, verdict) for kind, verdict in labelled)
    good, defective = (sum(n for (is_good, _), n in found.items() if is_good == one) for one in (True, False))
    return ErrorCounts(
        good=good,
        defective=defective,
        false_rejects=good - found[True, "pass"],
        escapes=found[False, "pass"],
        good_faults=found[True, "fault"],
        defective_faults=found[False, "fault"],
    )


class Criterion(BaseModel):
    """One rate with its limit; `at_most` is its upper bound, all three as fractions."""

    model_config = ConfigDict(frozen=True)

    rate: Literal["escapes", "false rejects"]
    count: int
    parts: int
    at_most: float
    limit: float
    met: bool
    faults: int = 0  # further parts, which could not be judged and show nothing

    @property
    def text(self) -> str:
        """The criterion in a sentence without its end."""
        share = share_text(self.count, self.parts) if self.parts else "0 of 0"
        found = (
            f"{self.rate}: {share}, with {percent(CONFIDENCE)} confidence not more than "
            f"{_rounded_up(self.at_most)}, limit {100 * self.limit:g} %: "
            f"{'met' if self.met else 'not met'}"
        )
        if self.faults:
            found += f" ({self.faults} faults do not count: those parts were not judged)"
        needed = parts_to_show(self.limit)
        if self.met or self.parts >= needed:
            return found
        kind = "defective" if self.rate == "escapes" else "good"
        return f"{found}; it takes at least {needed} {kind} parts to show this limit, there are {self.parts}"


def _rounded_up(rate: float) -> str:
    """Format an upper bound: to the nearest it could be shown as the limit that it exceeds."""
    shown = Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(100 * rate)
    return f"{shown.normalize():f} %"


class Acceptance(BaseModel):
    """All limits that were given, and whether all of them are met."""

    model_config = ConfigDict(frozen=True)

    accepted: bool
    criteria: list[Criterion]

    @property
    def text(self) -> str:
        """The result in a line."""
        word = "accepted" if self.accepted else "not accepted"
        return f"{word}: {'; '.join(criterion.text for criterion in self.criteria)}"


def acceptance(counts: ErrorCounts, limits: Limits) -> Acceptance | None:
    """Compare error rates with `limits`; None without any.

    A good part that is a fault counts as rejected, as everywhere. A defective one shows nothing: a folder of
    unreadable pictures must not prove that defects are found.
    """
    criteria = []
    if limits.escapes is not None:
        judged = counts.defective - counts.defective_faults
        criteria.append(
            _criterion("escapes", counts.escapes, judged, limits.escapes, counts.defective_faults)
        )
    if limits.false_rejects is not None:
        rejects = counts.false_rejects, counts.good
        criteria.append(_criterion("false rejects", *rejects, limits.false_rejects))
    if not criteria:
        return None
    return Acceptance(accepted=all(criterion.met for criterion in criteria), criteria=criteria)


def _criterion(
    rate: Literal["escapes", "false rejects"], count: int, parts: int, percent: float, faults: int = 0
) -> Criterion:
    bound, limit = rate_at_most(count, parts) if parts else 1.0, percent / 100
    return Criterion(
        rate=rate, count=count, parts=parts, at_most=bound, limit=limit, met=bound <= limit, faults=faults
    )
