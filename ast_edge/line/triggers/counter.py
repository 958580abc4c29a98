"""Interprets successive readings of a part counter: which parts arrived, and whether it is plausible."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """The counter's values of the parts that arrived, oldest first; `why` describes a problem, else empty."""

    ids: tuple[int, ...]
    why: str = ""


def step(before: int, now: int, *, bits: int, most: int) -> Step:
    """Return the step from one reading of a counter of `bits` to the next, across its wrap-around.

    A step of more than `most` is not a number of parts: the counter or the PLC was reset. A small value then
    is the number of parts since the reset: they are parts that passed unseen.
    """
    size = 1 << bits
    ahead = (now - before) % size
    if ahead <= most:
        return Step(tuple((before + 1 + at) % size for at in range(ahead)))
    why = f"the counter went from {before} to {now}"
    if now <= most:
        return Step(tuple(range(1, now + 1)), f"{why}: it was reset, and its count before that is unknown")
    return Step((), f"{why}: this is not a plausible number of parts, so their number is unknown")
