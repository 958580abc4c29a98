"""Metrics: the text that Prometheus reads, and the low cost of counting."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ast_edge import __version__
from ast_edge.line.outputs.base import OutputStatus
from ast_edge.line.outputs.reasons import OTHER, REASONS
from ast_edge.line.status import Balance
from ast_edge.line.triggers.timer import TimerTrigger, TimerTriggerOptions
from ast_edge.line.watching.metrics import BUCKETS_S, Metrics, Watched
from ast_edge.machine.sensors import Reading
from tests.line.parts import StillStation, part_result
from tests.line.rig import Remembering

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(metrics: Metrics) -> Series:
    """Every series as Prometheus understands it; none may be there twice."""
    found: Series = {}
    names = []
    for family in text_string_to_metric_families(metrics.render().decode()):
        names.append(family.name)
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    assert len(names) == len(set(names))
    return found


def faults(series: Series) -> dict[str, float]:
    """How often which code."""
    found = {dict(labels)["code"]: count for (name, labels), count in series.items() if "_faults" in name}
    return {code: count for code, count in found.items() if count}


def value(series: Series, name: str, /, **labels: str) -> float:
    return series[f"ast_edge_{name}", frozenset(labels.items())]


def still() -> Metrics:
    """Metrics without any source."""
    return Metrics(Watched(board=tuple))


def test_parts_by_verdict_and_recipe() -> None:
    metrics = still()
    for number, verdict in enumerate(("pass", "pass", "reject", "fault"), 1):
        metrics.put(part_result(number, verdict))  # type: ignore[arg-type]
    metrics.put(replace(part_result(5), recipe='se"cond\n\\'))
    series = read(metrics)
    assert value(series, "parts_total", recipe="first", verdict="pass") == 2
    assert value(series, "parts_total", recipe="first", verdict="reject") == 1
    assert value(series, "parts_total", recipe="first", verdict="fault") == 1
    assert value(series, "parts_total", recipe='se"cond\n\\', verdict="pass") == 1
    assert value(series, "parts_total", recipe='se"cond\n\\', verdict="fault") == 0
    assert faults(series) == {"4": 1}
    assert sum(name == "ast_edge_faults_total" for name, _ in series) == len(REASONS) + 1  # from the start
    assert metrics.status == OutputStatus(connected=True, delivered=5)


@given(
    st.lists(
        st.one_of(st.floats(0, 3000), st.sampled_from([1000 * end for end in BUCKETS_S])),
        max_size=50,
    )
)
def test_latencies_fall_into_their_buckets(latencies: list[float]) -> None:
    metrics = still()
    for latency_ms in latencies:
        metrics.put(replace(part_result(), latency_ms=latency_ms, stages_ms={"engine": latency_ms / 2}))
    series = read(metrics)
    for end in BUCKETS_S:
        expected = sum(latency_ms / 1e3 <= end for latency_ms in latencies)
        assert value(series, "verdict_seconds_bucket", le=str(end)) == expected
    assert value(series, "verdict_seconds_bucket", le="+Inf") == len(latencies)
    assert value(series, "verdict_seconds_count") == len(latencies)
    assert value(series, "verdict_seconds_sum") == pytest.approx(sum(latencies) / 1e3)
    if latencies:
        assert value(series, "stage_seconds_count", stage="engine") == len(latencies)
        assert value(series, "stage_seconds_sum", stage="engine") == pytest.approx(sum(latencies) / 2e3)


def test_buckets_reach_from_1_ms_to_1_s() -> None:
    assert (BUCKETS_S[0], BUCKETS_S[-1]) == (0.001, 1.0)
    assert list(BUCKETS_S) == sorted(BUCKETS_S)


def test_what_is_no_number_spoils_nothing() -> None:
    metrics = still()
    metrics.put(replace(part_result(), latency_ms=math.nan, stages_ms={"engine": math.inf}))
    metrics.put(part_result())
    series = read(metrics)
    assert value(series, "verdict_seconds_count") == 1
    assert math.isfinite(value(series, "verdict_seconds_sum"))
    assert value(series, "parts_total", recipe="first", verdict="pass") == 2


def test_the_station_as_it_is_at_the_scrape() -> None:
    station = StillStation()
    metrics = still()
    metrics.start(station)
    series = read(metrics)
    assert value(series, "ready") == value(series, "balanced") == 1
    assert value(series, "triggers_total") == 12
    assert value(series, "camera_state", state="live") == 1
    assert value(series, "camera_state", state="lost") == 0
    assert value(series, "frame_age_seconds") == 0.1
    assert value(series, "threshold") == value(series, "recipe_info", recipe="first") == 1
    assert value(series, "parts_total", recipe="first", verdict="fault") == 0
    station.now = replace(
        station.now,
        camera="lost",
        frame_age_s=None,
        state="stopping",
        waiting=7,
        failures=3,
        balance=Balance(triggers=12, verdicts={"pass": 9}, open=1),
    )
    series = read(metrics)
    assert value(series, "ready") == value(series, "balanced") == 0
    assert value(series, "camera_state", state="live") == 0
    assert value(series, "camera_state", state="lost") == 1
    assert value(series, "station_state", state="stopping") == 1
    assert value(series, "waiting_parts") == 7
    assert value(series, "failures_total") == 3
    assert value(series, "open_parts") == 1
    assert value(series, "frame_age_seconds") == -1


class Failing(Remembering):
    """An output that cannot say how it is."""

    @property
    def status(self) -> OutputStatus:
        raise OSError("broken")


def raises() -> Mapping[str, float]:
    raise RuntimeError("out of order")


def test_everybody_is_asked() -> None:
    plc = Remembering()
    plc.put(part_result())
    metrics = Metrics(
        Watched(
            outputs=[plc],
            trigger=TimerTrigger(TimerTriggerOptions(kind="timer")),
            camera_counters=lambda: {"frames": 100, "dropped": 3},
            gauges=lambda: {"score_p50": 0.25},
            warnings=lambda: ("the disk is full", "it drifts"),
            web=lambda: {"wrong_tokens": 2},
            board=lambda: (Reading("temperature", "cpu\ud800", 48.0), Reading("power", "VDD_IN", 4.5)),
        )
    )
    series = read(metrics)
    assert value(series, "build_info", version=__version__) == 1
    assert value(series, "camera_total", event="dropped") == 3
    assert value(series, "output_delivered_total", output="remembering") == 1
    assert value(series, "output_undelivered_total", output="remembering") == 0
    assert value(series, "output_queued", output="remembering") == 0
    assert value(series, "connected", counterpart="remembering") == 1
    assert value(series, "connected", counterpart="trigger timer") == 0
    assert value(series, "source_triggers_total") == value(series, "missed_triggers_total") == 0
    assert value(series, "warnings") == 2
    assert value(series, "drift", name="score_p50") == 0.25
    assert value(series, "web_total", event="wrong_tokens") == 2
    assert value(series, "board_temperature_celsius", sensor="cpu?") == 48.0
    assert value(series, "board_power_watts", sensor="VDD_IN") == 4.5
    assert series["process_resident_memory_bytes", frozenset()] > 0
    assert not [name for name, _ in series if name.endswith("_created")]


def test_a_listener_that_raises_hides_no_other() -> None:
    metrics = Metrics(Watched(outputs=[Failing()], gauges=raises, board=tuple))
    metrics.start(StillStation())
    read(metrics)
    series = read(metrics)
    for source in ("drift", "outputs", "connections"):
        assert value(series, "scrape_errors_total", source=source) == 2
    assert value(series, "ready") == 1


def test_the_machine_itself_is_asked_by_default() -> None:
    assert "ast_edge_parts" in Metrics(Watched()).render().decode()


def test_processes_share_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would write every count to a file in this folder, under the ledger's lock."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    metrics = still()
    metrics.put(part_result())
    assert value(read(metrics), "parts_total", recipe="first", verdict="pass") == 1
    assert list(tmp_path.iterdir()) == []


def test_reasons_from_outside_make_no_endless_series() -> None:
    metrics = still()
    for number in range(500):
        metrics.put(replace(part_result(number, "fault"), reason=f"something new {number}"))
    assert faults(read(metrics)) == {str(OTHER): 500}


def test_labels_are_bounded() -> None:
    metrics = still()
    for number in range(1000):
        stages = {f"stage {number}": 1.0}
        metrics.put(replace(part_result(number), recipe=f"recipe {number}", stages_ms=stages))
    series = read(metrics)
    assert len([name for name, _ in series if name == "ast_edge_parts_total"]) <= 3 * 65
    assert len([name for name, _ in series if name == "ast_edge_stage_seconds_count"]) <= 65
    assert sum(count for (name, _), count in series.items() if name == "ast_edge_parts_total") == 1000


def test_no_part_is_lost_between_threads() -> None:
    metrics, result, stop = still(), part_result(verdict="fault"), threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            metrics.render()

    def count() -> None:
        for _ in range(2000):
            metrics.put(result)

    threads = [threading.Thread(target=count) for _ in range(4)]
    scraper = threading.Thread(target=scrape)
    for thread in (scraper, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    scraper.join()
    series = read(metrics)
    assert value(series, "parts_total", recipe="first", verdict="fault") == 8000
    assert faults(series) == {"4": 8000}
    assert value(series, "verdict_seconds_count") == 8000


def test_counting_a_part_takes_microseconds() -> None:
    """About 5 on a desktop; the limit is for the noisiest of machines."""
    metrics, results = still(), [part_result(1), part_result(2, "fault")]
    best = math.inf
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(50):
            for result in results:
                metrics.put(result)
        best = min(best, (time.perf_counter() - started) / 100)
    assert best < 200e-6


@pytest.mark.slow
def test_without_the_package_the_error_says_what_to_run() -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("prometheus_client"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
from ast_edge.line.watching.metrics import Metrics, Watched
from ast_edge.errors import LineError
try:
    Metrics(Watched())
except LineError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install ".[line]"' in done.stdout
