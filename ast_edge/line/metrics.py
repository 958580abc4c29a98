"""What Prometheus asks a station: parts, times, queues, the camera, the counterparts, the board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from ast_edge import __version__
from ast_edge.cameras.base import State
from ast_edge.errors import LineError
from ast_edge.line.board import read_board
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.outputs.reasons import reason_code
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView
from ast_edge.line.triggers.base import TriggerSource

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_STAGES = frozenset(("preprocess", "copy_in", "engine", "copy_out", "score"))


@dataclass(frozen=True)
class Watched:
    """Whom to ask when somebody asks; each may be missing."""

    outputs: Sequence[Output] = ()
    trigger: TriggerSource | None = None
    camera_counters: Callable[[], Mapping[str, int]] = dict
    gauges: Callable[[], Mapping[str, float]] = dict
    warnings: Callable[[], tuple[str, ...]] = tuple


class Metrics(Output):
    """Counts parts as an output of the line; `render` gives the text of Prometheus' exposition format.

    Raises LineError where prometheus_client is missing.
    """

    name = "metrics"

    def __init__(self, watched: Watched) -> None:
        try:
            import prometheus_client as prometheus  # noqa: PLC0415 (only where metrics are asked for)
            from prometheus_client import metrics_core  # noqa: PLC0415
        except ImportError as exc:
            raise LineError(
                'metrics need prometheus_client, which is not installed; run: pip install "ast-edge[line]"'
            ) from exc
        self._text: Callable[[Any], bytes] = prometheus.generate_latest
        self._core: Any = metrics_core
        self._watched = watched
        self._station: StationView | None = None
        self._registry = registry = prometheus.CollectorRegistry()
        self._parts = prometheus.Counter(
            "ast_edge_parts", "Parts by verdict.", ("recipe", "verdict"), registry=registry
        )
        self._faults = prometheus.Counter(
            "ast_edge_faults",
            "Faults by reason, as in the PLC's register.",
            ("code",),
            registry=registry,
        )
        self._latency = prometheus.Histogram(
            "ast_edge_verdict_seconds",
            "Trigger to verdict.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._stages = prometheus.Histogram(
            "ast_edge_stage_seconds",
            "Stages of inspection.",
            ("stage",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        registry.register(self)

    def start(self, station: StationView) -> None:
        """See `Output`."""
        self._station = station

    def put(self, result: PartResult) -> None:
        """See `Output`."""
        self._parts.labels(result.recipe, result.verdict).inc()
        if result.verdict == "fault":
            self._faults.labels(str(reason_code(result.verdict, result.reason))).inc()
        self._latency.observe(result.latency_ms / 1e3)
        for stage, milliseconds in result.stages_ms.items():
            if stage in _STAGES:
                self._stages.labels(stage).observe(milliseconds / 1e3)

    @property
    def status(self) -> OutputStatus:
        """See `Output`."""
        return OutputStatus(connected=True, delivered=0, undelivered=0, queued=0, last_error="")

    def close(self, timeout_s: float) -> None:
        """See `Output`; nothing waits here."""

    def render(self) -> bytes:
        """The exposition format's text."""
        return self._text(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What is asked when somebody asks; called by prometheus_client."""
        core = self._core
        if self._station is not None:
            yield from self._of_station(core, self._station)
        yield from self._of_counterparts(core)
        counters = core.CounterMetricFamily("ast_edge_camera", "What the camera counts.", labels=["event"])
        for event, count in self._watched.camera_counters().items():
            counters.add_metric([event], count)
        yield counters
        yield from _gauges(core, "ast_edge_drift", "Quantiles of late.", self._watched.gauges())
        yield from _gauges(core, "ast_edge_board", "Temperatures (C), power (W).", read_board())
        yield core.GaugeMetricFamily("ast_edge_warnings", "Warnings in force.", len(self._watched.warnings()))
        build = core.GaugeMetricFamily("ast_edge_build_info", "The version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build

    def describe(self) -> Iterator[Metric]:
        """Nothing before the start; called by prometheus_client when it registers."""
        return iter(())

    def _of_station(self, core: Any, station: StationView) -> Iterator[Metric]:
        now = station.status()
        books = now.balance
        for name, about, value in (
            ("ready", "1 while the next part will be judged.", now.ready),
            ("waiting_parts", "Parts in the queue.", now.waiting),
            ("open_parts", "Parts without a verdict yet.", books.open),
            ("balanced", "1 while every trigger has a verdict or is open.", books.balanced),
            ("threshold", "Of the recipe in force.", now.threshold),
            ("frame_age_seconds", "Since the last frame; -1 before the first.", now.frame_age_s),
        ):
            yield core.GaugeMetricFamily(f"ast_edge_{name}", about, -1 if value is None else float(value))
        yield core.CounterMetricFamily("ast_edge_triggers", "Triggers entered.", books.triggers)
        yield core.CounterMetricFamily("ast_edge_failures", "Errors nobody foresaw.", now.failures)
        camera = core.GaugeMetricFamily("ast_edge_camera_state", "1 for its state.", labels=["state"])
        for state in get_args(State):
            camera.add_metric([state], float(state == now.camera))
        yield camera

    def _of_counterparts(self, core: Any) -> Iterator[Metric]:
        connected = core.GaugeMetricFamily("ast_edge_connected", "1 while it is.", labels=["counterpart"])
        queued = core.GaugeMetricFamily("ast_edge_output_queued", "Results that wait.", labels=["output"])
        delivered = core.CounterMetricFamily("ast_edge_output_delivered", "Results.", labels=["output"])
        lost = core.CounterMetricFamily("ast_edge_output_undelivered", "Results given up.", labels=["output"])
        for output in self._watched.outputs:
            status = output.status
            connected.add_metric([output.name], float(status.connected))
            queued.add_metric([output.name], status.queued)
            delivered.add_metric([output.name], status.delivered)
            lost.add_metric([output.name], status.undelivered)
        yield from (queued, delivered, lost)
        if self._watched.trigger is not None:
            source = self._watched.trigger.status
            connected.add_metric([f"trigger {self._watched.trigger.name}"], float(source.connected))
            yield core.CounterMetricFamily("ast_edge_missed_triggers", "Parts nobody saw.", source.missed)
        yield connected


def _gauges(core: Any, name: str, about: str, values: Mapping[str, float]) -> Iterator[Metric]:
    family = core.GaugeMetricFamily(name, about, labels=["name"])
    for key, value in values.items():
        family.add_metric([key], value)
    yield family
