"""The metrics that are read from the line at scrape time; plain values, no library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, get_args

from ast_edge.cameras.base import State
from ast_edge.line.outputs.base import OutputStatus
from ast_edge.line.status import AlarmKind, Obstacle, StationState, StationStatus
from ast_edge.line.triggers.base import TriggerStatus
from ast_edge.machine.sensors import Reading

Kind = Literal["gauge", "counter"]
PREFIX = "ast_edge_"
_MOST_VALUES = 200


@dataclass(frozen=True)
class Family:
    """One metric, its values by labels; `name` is without the prefix and, for a counter, without `_total`."""

    kind: Kind
    name: str
    about: str
    labels: tuple[str, ...] = ()
    values: Sequence[tuple[tuple[str, ...], float]] = field(default=())


def gauge(name: str, about: str, value: float) -> Family:
    """Return a gauge without labels."""
    return Family("gauge", name, about, (), [((), float(value))])


def counter(name: str, about: str, value: float) -> Family:
    """Return a counter without labels."""
    return Family("counter", name, about, (), [((), float(value))])


def station_families(status: StationStatus) -> Iterator[Family]:
    """Yield state, ledger, queue, camera and recipe."""
    balance = status.balance
    yield _one_hot(
        "station_state",
        "1 for the current state of the station, else 0.",
        get_args(StationState),
        status.state,
    )
    yield gauge("ready", "1 if the next part will be judged, else 0.", status.ready)
    kinds = [((kind,), float(kind in status.obstacles)) for kind in get_args(Obstacle)]
    yield Family(
        "gauge",
        "obstacle",
        "1 if this obstacle prevents the next part from being judged, else 0.",
        ("kind",),
        kinds,
    )
    alarms = [((kind,), float(kind in status.surroundings.alarms)) for kind in get_args(AlarmKind)]
    yield Family("gauge", "alarm", "1 if the alarm is active, else 0.", ("kind",), alarms)
    yield counter("gaps", "Occasions on which an unknown number of parts passed unseen.", status.gaps)
    yield gauge("balanced", "1 if every trigger has its verdict or is open, else 0.", balance.balanced)
    yield counter("triggers", "Parts triggered.", balance.triggers)
    yield gauge("open_parts", "Parts without a verdict yet.", balance.open)
    yield gauge("waiting_parts", "Parts in the queue.", status.waiting)
    yield counter("failures", "Unexpected errors.", status.failures)
    yield _one_hot(
        "camera_state", "1 for the current state of the camera, else 0.", get_args(State), status.camera
    )
    age_s = -1.0 if status.frame_age_s is None else status.frame_age_s
    yield gauge("frame_age_seconds", "Seconds since the camera's last frame; -1 before the first.", age_s)
    yield gauge("threshold", "Threshold of the recipe in force.", status.threshold)
    yield Family("gauge", "recipe_info", "1 for the recipe in force.", ("recipe",), [((status.recipe,), 1.0)])


def camera_families(counters: Mapping[str, int]) -> Iterator[Family]:
    """Yield the camera's counters: frames, dropped, repeated and so on."""
    yield Family("counter", "camera", "Events counted by the camera.", ("event",), _by_name(counters))


def output_families(statuses: Mapping[str, OutputStatus]) -> Iterator[Family]:
    """Yield the status of each output."""

    def family(kind: Kind, name: str, about: str) -> Family:
        values = {output: getattr(status, name) for output, status in statuses.items()}
        return Family(kind, f"output_{name}", about, ("output",), _by_name(values))

    yield family("gauge", "queued", "Results waiting.")
    yield family("counter", "delivered", "Results delivered.")
    yield family("counter", "undelivered", "Results lost.")


def trigger_families(status: TriggerStatus) -> Iterator[Family]:
    """Yield the counters of the source of triggers."""
    yield counter("source_triggers", "Triggers reported by the source.", status.triggers)
    yield counter("missed_triggers", "Parts that the source reported as missed.", status.missed)
    yield counter("ignored_triggers", "Messages that were not parts: duplicate or retained.", status.ignored)


def connection_families(
    outputs: Mapping[str, OutputStatus], trigger: tuple[str, TriggerStatus] | None
) -> Iterator[Family]:
    """Yield the state of connections."""
    connected: dict[str, float] = {name: status.connected for name, status in outputs.items()}
    if trigger is not None:
        connected[f"trigger {trigger[0]}"] = trigger[1].connected
    yield Family(
        "gauge",
        "connected",
        "1 if the counterpart is connected, else 0.",
        ("counterpart",),
        _by_name(connected),
    )


def board_families(readings: Iterable[Reading]) -> Iterator[Family]:
    """Yield temperatures and powers."""
    values: dict[str, dict[str, float]] = {"temperature": {}, "power": {}}
    for reading in readings:
        values[reading.kind][reading.sensor] = reading.value
    label = ("sensor",)
    degrees, watts = _by_name(values["temperature"]), _by_name(values["power"])
    yield Family("gauge", "board_temperature_celsius", "Temperature of board and GPU.", label, degrees)
    yield Family("gauge", "board_power_watts", "Power drawn, by supply rail or GPU.", label, watts)


def drift_families(gauges: Mapping[str, float]) -> Iterator[Family]:
    """Yield quantiles of recent parts."""
    yield Family("gauge", "drift", "Quantiles of recent parts.", ("name",), _by_name(gauges))


def web_families(counters: Mapping[str, int]) -> Iterator[Family]:
    """Yield the refusals of the page's server."""
    yield Family(
        "counter", "web", "Requests and connections refused by the page.", ("event",), _by_name(counters)
    )


def _by_name(values: Mapping[str, float]) -> list[tuple[tuple[str, ...], float]]:
    return [((name,), float(value)) for name, value in islice(values.items(), _MOST_VALUES)]


def _one_hot(name: str, about: str, states: Sequence[str], now: str) -> Family:
    return Family("gauge", name, about, ("state",), [((state,), float(state == now)) for state in states])
