"""Error rates of two models on labelled parts, and in what the new one is worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ast_edge.compare.result import Errors, Opinion, Paired, PartRow, Rate
from ast_edge.data import GOOD
from ast_edge.verdict.acceptance import ErrorCounts, count_errors
from ast_edge.verdict.rates import mcnemar, rate_interval


def counts_of(rows: Sequence[PartRow]) -> tuple[ErrorCounts, ErrorCounts]:
    """Count the errors of OLD and of NEW on labelled parts."""
    labelled = [(row.kind, row) for row in rows if row.kind is not None]
    old = count_errors((kind, row.old.verdict) for kind, row in labelled)
    return old, count_errors((kind, row.new.verdict) for kind, row in labelled)


def errors_of(rows: Sequence[PartRow], *, good: bool) -> Errors | None:
    """Return the false rejects of good parts, or the escapes of defective ones; None without such parts."""
    chosen = [row for row in rows if row.kind is not None and (row.kind == GOOD) == good]
    if not chosen:
        return None
    found = Counter((_wrong(row.old, good=good), _wrong(row.new, good=good)) for row in chosen)
    only_old, only_new = found[True, False], found[False, True]
    paired = Paired(
        good=good,
        neither=found[False, False],
        only_old=only_old,
        only_new=only_new,
        both=found[True, True],
        p_value=mcnemar(only_old, only_new),
    )
    old, new = paired.errors
    return Errors(
        old=_rate(old, [row.old for row in chosen]),
        new=_rate(new, [row.new for row in chosen]),
        paired=paired,
    )


def worse(rows: Sequence[PartRow]) -> list[str]:
    """Say in what the new model is worse: more escapes, false rejects or faults, however few."""
    old, new = counts_of(rows)
    old_faults, new_faults = (_faults([row.old for row in rows]), _faults([row.new for row in rows]))
    compared = (
        ("escapes", old.escapes, new.escapes),
        ("false rejects", old.false_rejects, new.false_rejects),
        ("faults", old_faults, new_faults),
    )
    return [f"{name}: {after} instead of {before}" for name, before, after in compared if after > before]


def _wrong(opinion: Opinion, *, good: bool) -> bool:
    return (opinion.verdict == "pass") != good


def _rate(count: int, opinions: Sequence[Opinion]) -> Rate:
    parts = len(opinions)
    return Rate(count=count, parts=parts, faults=_faults(opinions), interval=rate_interval(count, parts))


def _faults(opinions: Sequence[Opinion]) -> int:
    return sum(opinion.verdict == "fault" for opinion in opinions)
