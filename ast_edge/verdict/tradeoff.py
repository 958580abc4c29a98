"""What other false-reject rates would cost, as far as good parts can show it. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ast_edge.model.manifest import Threshold
from ast_edge.verdict.threshold import conformal_threshold, percent, promise

RATES = (0.1, 0.05, 0.02, 0.01, 0.005)
_MORE = (2, 5)  # times as many parts


class Choice(NamedTuple):
    """A threshold, what it promises (see `Threshold`), and how far it is above the usual good part.

    `margin` is the threshold as a multiple of the median score of good parts: a part must be that much
    stranger than a usual one to be rejected.
    """

    threshold: float
    margin: float
    expected: float
    upper: float


def tradeoff(scores: Sequence[float], confidence: float = 0.95) -> list[Choice]:
    """The choices that the `scores` [n] of good parts leave, from the lowest threshold to the highest.

    The last is the largest score where there are too few parts for lower rates.
    """
    values = np.asarray(scores, np.float64)
    usual = float(np.median(values))
    choices: list[Choice] = []
    for rate in RATES:
        made = conformal_threshold(values, values, false_reject_rate=rate, confidence=confidence)
        margin = made.value / usual if usual > 0 else math.inf
        choice = Choice(made.value, margin, made.expected_false_reject_rate, made.upper_false_reject_rate)
        if choice not in choices:  # with few parts several rates have the same threshold
            choices.append(choice)
        if made.good_parts < made.good_parts_needed:
            break
    return choices


def tradeoff_text(choices: Sequence[Choice]) -> str:
    """The choices as a table."""
    lines = [f"{'false rejects':<15}{'at most':>9}{'threshold':>12}{'times the usual score':>24}"]
    lines += [
        f"{percent(choice.expected):<15}{percent(choice.upper):>9}"
        f"{choice.threshold:>12.6g}{choice.margin:>24.3g}"
        for choice in choices
    ]
    return "\n".join(lines)


def more_parts_text(threshold: Threshold) -> str:
    """What the threshold's false-reject rate would be with more good parts."""
    rate, confidence = threshold.target_false_reject_rate, threshold.confidence
    said = []
    for count in _MORE:
        parts = count * threshold.good_parts
        made = promise(parts, rate, confidence)
        said.append(f"{parts} parts {percent(made.expected)}, at most {percent(made.upper)}")
    return f"with more good parts: {'; '.join(said)}"
