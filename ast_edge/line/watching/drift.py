"""The drift guard: are current parts still like the good parts from which the threshold was set?

It only warns, and never changes the threshold. For score, brightness and sharpness it counts how many of the
last `window` parts are above the 95 % quantile of the calibration's good parts, and how many below the 5 %
quantile. For n good parts, the true fraction of parts beyond such a quantile has a beta distribution (order
statistics). So the limit is the count that a beta-binomial variable reaches with a probability of at most one
in a million. The warning ends at half of the limit.

Scores are those of passed parts: a batch of bad parts is not drift. Brightness and sharpness are those of
every judged part.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field
from typing_extensions import override

from ast_edge.line.config.options import Options
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView
from ast_edge.line.warned import Warnings
from ast_edge.model.manifest import QUANTILE_LEVELS, ModelSpec

ALARM = 1e-6
_LOW, _HIGH = QUANTILE_LEVELS.index(0.05), QUANTILE_LEVELS.index(0.95)
_SHOWN = (0.05, 0.5, 0.95)


class DriftOptions(Options):
    """`window`: number of parts compared with the calibration; `every`: number of parts between checks."""

    window: Annotated[int, Field(ge=50, le=10_000)] = 200
    every: Annotated[int, Field(ge=1, le=1000)] = 20


class DriftGuard(Output):
    """Watches every part; `warnings` are active now, `gauges` are quantiles of the last window.

    Starts over when the recipe or the revision of the threshold changes. An event "drift" is reported when a
    warning begins or ends.
    """

    name = "drift"

    def __init__(self, options: DriftOptions) -> None:
        self._options = options
        self._warnings = Warnings("drift", {}, lambda: self.report)
        self._spec: ModelSpec | None = None
        self._watched: dict[str, _Quantity] = {}
        self._since = 0

    def start(self, station: StationView) -> None:
        """Do nothing: there is no thread to start."""

    @override
    def put(self, result: PartResult) -> None:
        if result.inspection is None or result.spec is None or result.verdict == "fault":
            return
        if result.spec is not self._spec:
            self._begin(result.spec)
        if result.verdict == "pass":
            self._add("score", result.score)
        if (levels := result.inspection.levels) is not None:
            self._add("brightness", levels.brightness)
            self._add("sharpness", levels.sharpness)
        self._since += 1
        if self._since >= self._options.every:
            self._since = 0
            self._look()

    @property
    @override
    def status(self) -> OutputStatus:
        return OutputStatus(connected=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the active warnings, a sentence each."""
        return self._warnings.now

    def gauges(self) -> Mapping[str, float]:
        """Return the 5 %, 50 % and 95 % quantiles of recent parts."""
        found = {}
        for name, quantity in self._watched.copy().items():
            if values := list(quantity.values):
                for level, value in zip(_SHOWN, np.quantile(values, _SHOWN), strict=True):
                    found[f"{name}_p{level * 100:g}"] = float(value)
        return found

    def close(self, timeout_s: float) -> None:
        """Do nothing: there is no queue to flush."""

    def _begin(self, spec: ModelSpec) -> None:
        """Start over for another model or threshold."""
        for name, quantity in self._watched.items():
            for side in quantity.limits:
                self._warnings.end(f"{name} {side}")
        self._warnings.end("calibration")
        self._spec, self._watched, self._since = spec, {}, 0
        calibration = spec.calibration
        if calibration is None:
            self._warnings.begin("calibration", "drift: this model has no calibration to compare parts with")
            return
        good, window = spec.threshold.good_parts, self._options.window
        for name, quantiles in (
            ("score", calibration.score_quantiles),
            ("brightness", calibration.brightness_quantiles),
            ("sharpness", calibration.sharpness_quantiles),
        ):
            if quantiles is not None:
                self._watched[name] = _Quantity(quantiles, window, alarming_count(window, good))

    def _add(self, name: str, value: float) -> None:
        if name in self._watched and math.isfinite(value):
            self._watched[name].values.append(value)

    def _look(self) -> None:
        for name, quantity in self._watched.items():
            if len(quantity.values) < self._options.window:
                continue
            for side, count in quantity.counts().items():
                key = f"{name} {side}"
                if count >= quantity.alarming:
                    share, limit = count / self._options.window, quantity.limits[side]
                    self._warnings.begin(
                        key,
                        f"drift: {share:.0%} of the last {self._options.window} parts have a {name} {side} "
                        f"{limit:.4g}, good parts had 5 %; check lighting, lens and material",
                    )
                elif count <= quantity.alarming // 2:
                    self._warnings.end(key)


class _Quantity:
    """The last values of one quantity, and the limits of the calibration."""

    def __init__(self, quantiles: Sequence[float], window: int, alarming: int) -> None:
        self.values: deque[float] = deque(maxlen=window)
        self.limits = {"below": quantiles[_LOW], "above": quantiles[_HIGH]}
        self.alarming = alarming

    def counts(self) -> dict[str, int]:
        """Return how many values are beyond each limit."""
        values = np.array(self.values)
        return {
            "below": int((values < self.limits["below"]).sum()),
            "above": int((values > self.limits["above"]).sum()),
        }


def alarming_count(window: int, good_parts: int) -> int:
    """Return the smallest count beyond a 5 % quantile of `good_parts` with a chance up to one in a million.

    `window + 1`, which is never reached, if `good_parts` are too few to judge such a rare event.
    """
    # The linear quantile is at rank 0.95 (n - 1) + 1 of n; the fraction beyond rank r is Beta(n + 1 - r, r).
    beyond = good_parts - 0.95 * (good_parts - 1)
    within = good_parts + 1 - beyond
    tail = 0.0
    for count in range(window, -1, -1):
        tail += math.exp(_log_beta_binomial(count, window, beyond, within))
        if tail > ALARM:
            return count + 1
    return 0


def _log_beta_binomial(count: int, of: int, alpha: float, beta: float) -> float:
    """Return the logarithm of the beta-binomial probability."""
    choose = math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)
    return choose + _log_beta(count + alpha, of - count + beta) - _log_beta(alpha, beta)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
