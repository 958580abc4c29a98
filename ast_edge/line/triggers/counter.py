"""What a part counter says when it is read again: which parts came, and whether it can be believed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """The counter's values of the parts that came, oldest first; `why` says what is odd, else empty."""

    ids: tuple[int, ...]
    why: str = ""


def step(before: int, now: int, *, bits: int, most: int) -> Step:
    """From one reading of a counter of `bits` to the next, over its wrap-around.

    More than `most` parts at once are no parts: the counter was set anew or the PLC started again. Where it
    stands at a small number then, it has counted that many since: they are parts that nobody saw.
    """
    size = 1 << bits
    ahead = (now - before) % size
    if ahead <= most:
        return Step(tuple((before + 1 + at) % size for at in range(ahead)))
    why = f"the counter went from {before} to {now}"
    if now <= most:
        return Step(tuple(range(1, now + 1)), f"{why}: it began again, and what it counted before is unknown")
    return Step((), f"{why}: that is no number of parts, so nobody knows how many came")
