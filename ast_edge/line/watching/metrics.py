"""Prometheus metrics of the line: counted part by part; the rest is queried at scrape time."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from typing_extensions import override

from ast_edge import __version__
from ast_edge.errors import LineError
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.outputs.reasons import OTHER, REASONS, reason_code
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView
from ast_edge.line.triggers.base import TriggerSource
from ast_edge.line.watching import metric_families as families
from ast_edge.line.watching.metric_families import PREFIX, Family
from ast_edge.machine.sensors import Board, Reading
from ast_edge.wording import install_hint

if TYPE_CHECKING:
    from prometheus_client.core import HistogramMetricFamily, Metric

# Upper bounds in seconds; longer times are counted in the last, infinite bucket.
BUCKETS_S = (
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.2,
    0.3,
    0.5,
    1.0,
)
_MOST_LABELS = 64
_REST = "other"
_VERDICTS = ("pass", "reject", "fault")
_FAULTS = {**{code: words for code, words, _ in REASONS}, OTHER: "anything else"}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Sources queried at scrape time; each may be missing, and one that raises does not hide the others.

    `gauges` are the quantiles of the drift guard, `web` the counters of the page's server, `board` the
    sensors of the machine.
    """

    outputs: Sequence[Output] = ()
    trigger: TriggerSource | None = None
    camera_counters: Callable[[], Mapping[str, int]] = dict
    gauges: Callable[[], Mapping[str, float]] = dict
    warnings: Callable[[], tuple[str, ...]] = tuple
    web: Callable[[], Mapping[str, int]] = dict
    board: Callable[[], Sequence[Reading]] = field(default_factory=lambda: Board().read)


class Histogram:
    """Counts of values up to each of `BUCKETS_S`, and their sum; not thread-safe."""

    def __init__(self, counts: Sequence[int] = (0,) * (len(BUCKETS_S) + 1), sum_s: float = 0.0) -> None:
        self.counts, self.sum_s = list(counts), sum_s

    def copy(self) -> Histogram:
        """Return a copy."""
        return Histogram(self.counts, self.sum_s)

    def observe(self, value_ms: float) -> None:
        """Add a value in milliseconds; a value that is not finite is ignored."""
        if not math.isfinite(value_ms):
            return
        self.counts[bisect_left(BUCKETS_S, value_ms / 1e3)] += 1
        self.sum_s += value_ms / 1e3

    def cumulative(self) -> list[tuple[str, float]]:
        """Return cumulative counts for each bucket, as Prometheus expects them."""
        ends = [*map(str, BUCKETS_S), "+Inf"]
        return [(end, float(sum(self.counts[: index + 1]))) for index, end in enumerate(ends)]


@dataclass
class _Counts:
    """Values counted part by part; not thread-safe."""

    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: dict[int, int] = field(default_factory=lambda: dict.fromkeys(_FAULTS, 0))
    verdict: Histogram = field(default_factory=Histogram)
    stages: dict[str, Histogram] = field(default_factory=dict)
    silent: dict[str, int] = field(default_factory=dict)  # sources that raised at scrape time

    def add(self, result: PartResult) -> None:
        """Add one part."""
        self.parts_of(result.recipe)[result.verdict] += 1
        self.verdict.observe(result.latency_ms)
        for stage, value_ms in result.stages_ms.items():
            self._stage(stage).observe(value_ms)
        if result.verdict == "fault":
            self.faults[reason_code(result.verdict, result.reason)] += 1

    def parts_of(self, recipe: str) -> dict[str, int]:
        """Return parts by verdict; zeros for a recipe without parts."""
        recipe = recipe if recipe in self.parts or len(self.parts) < _MOST_LABELS else _REST
        if recipe not in self.parts:
            self.parts[recipe] = dict.fromkeys(_VERDICTS, 0)
        return self.parts[recipe]

    def _stage(self, name: str) -> Histogram:
        name = name if name in self.stages or len(self.stages) < _MOST_LABELS else _REST
        if name not in self.stages:
            self.stages[name] = Histogram()
        return self.stages[name]

    def copy(self) -> _Counts:
        """Return a copy."""
        return _Counts(
            {recipe: dict(verdicts) for recipe, verdicts in self.parts.items()},
            dict(self.faults),
            self.verdict.copy(),
            {name: stage.copy() for name, stage in self.stages.items()},
            dict(self.silent),
        )

    def families(self) -> Iterator[Family]:
        """Yield parts, faults by reason, and scrape errors."""
        parts = [
            ((recipe, verdict), float(count))
            for recipe, verdicts in self.parts.items()
            for verdict, count in verdicts.items()
        ]
        yield Family("counter", "parts", "Parts by verdict.", ("recipe", "verdict"), parts)
        faults = [((str(code), _FAULTS[code]), float(count)) for code, count in self.faults.items()]
        about = "Faults by reason, as in the PLC's register."
        yield Family("counter", "faults", about, ("code", "reason"), faults)
        silent = [((name,), float(count)) for name, count in self.silent.items()]
        yield Family(
            "counter", "scrape_errors", "Errors of sources queried at scrape time.", ("source",), silent
        )


class Metrics(Output):
    """Counts every part in microseconds; `render` returns the exposition text. From any thread.

    Raises LineError if prometheus_client is not installed.
    """

    name = "metrics"

    def __init__(self, watched: Watched) -> None:
        try:
            import prometheus_client  # noqa: F401, PLC0415 (optional; no scrape shall wait for its import)
        except ImportError as exc:
            raise LineError(
                f"metrics: the package prometheus_client is not installed; run: {install_hint('line')}"
            ) from exc
        self._watched = watched
        self._station: StationView | None = None
        self._lock = threading.Lock()
        self._counts = _Counts()

    # ---- Output --------------------------------------------------------------------------------------------

    def start(self, station: StationView) -> None:
        """Do nothing: there is no thread to start."""
        self._station = station

    @override
    def put(self, result: PartResult) -> None:
        with self._lock:
            self._counts.add(result)

    @property
    @override
    def status(self) -> OutputStatus:
        with self._lock:
            counted = sum(sum(verdicts.values()) for verdicts in self._counts.parts.values())
        return OutputStatus(connected=True, delivered=counted)

    def close(self, timeout_s: float) -> None:
        """Do nothing: counts stay readable."""

    # ---- what Prometheus sees ------------------------------------------------------------------------------

    def render(self) -> bytes:
        """Return the current exposition text (version 0.0.4)."""
        from prometheus_client import (  # noqa: PLC0415 (optional, and it takes time to import)
            CollectorRegistry,
            ProcessCollector,
            generate_latest,
        )

        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(_Collector(self))
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all current metrics as prometheus_client types."""
        yield from map(_metric, self._asked())
        with self._lock:  # briefly: threads that count parts must not wait
            counts = self._counts.copy()
        yield from map(_metric, counts.families())
        yield _histogram("verdict_seconds", "Time from trigger to verdict.", {"": counts.verdict})
        yield _histogram("stage_seconds", "Time of each inspection stage.", counts.stages, "stage")

    def _asked(self) -> list[Family]:
        """Return the families queried at scrape time; errors are counted."""
        watched, trigger = self._watched, self._watched.trigger

        def outputs() -> dict[str, OutputStatus]:
            return {output.name: output.status for output in watched.outputs}

        def connections() -> Iterable[Family]:
            source = None if trigger is None else (trigger.name, trigger.status)
            return families.connection_families(outputs(), source)

        def triggers() -> Iterable[Family]:
            return () if trigger is None else families.trigger_families(trigger.status)

        def warnings() -> Iterable[Family]:
            return (families.gauge("warnings", "Warnings in force.", len(watched.warnings())),)

        asked: dict[str, Callable[[], Iterable[Family]]] = {
            "station": self._station_families,
            "outputs": lambda: families.output_families(outputs()),
            "trigger": triggers,
            "connections": connections,
            "camera": lambda: families.camera_families(watched.camera_counters()),
            "drift": lambda: families.drift_families(watched.gauges()),
            "warnings": warnings,
            "web": lambda: families.web_families(watched.web()),
            "board": lambda: families.board_families(watched.board()),
        }
        build = Family("gauge", "build_info", "The version.", ("version",), [((__version__,), 1.0)])
        return [build, *(family for name, ask in asked.items() for family in self._ask(name, ask))]

    def _ask(self, source: str, families_of: Callable[[], Iterable[Family]]) -> list[Family]:
        try:
            return list(families_of())
        except Exception:  # noqa: BLE001 (what one source does must not hide the others)
            with self._lock:
                self._counts.silent[source] = self._counts.silent.get(source, 0) + 1
            return []

    def _station_families(self) -> Iterable[Family]:
        if self._station is None:
            return ()
        status = self._station.status()
        with self._lock:
            self._counts.parts_of(status.recipe)  # present from the first scrape on, as zeros
        return families.station_families(status)


class _Collector:
    """A registry's view of the metrics, which also requires `describe` and other names."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.collect()


def _metric(family: Family) -> Metric:
    from prometheus_client.core import (  # noqa: PLC0415 (optional, and it takes time to import)
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(PREFIX + family.name, family.about, labels=family.labels)
    for labels, value in family.values:
        # A label that is not Unicode would fail the whole scrape.
        metric.add_metric([label.encode(errors="replace").decode() for label in labels], value)
    return metric


def _histogram(
    name: str, about: str, histograms: Mapping[str, Histogram], label: str | None = None
) -> HistogramMetricFamily:
    from prometheus_client.core import (  # noqa: PLC0415 (optional, and it takes time to import)
        HistogramMetricFamily,
    )

    metric = HistogramMetricFamily(PREFIX + name, about, labels=() if label is None else (label,))
    for key, histogram in histograms.items():
        labels = () if label is None else (key,)
        metric.add_metric(labels, histogram.cumulative(), histogram.sum_s)
    return metric
