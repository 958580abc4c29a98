"""What Prometheus reads, by its own parser."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ast_edge.line.board import read_board
from ast_edge.line.metrics import Metrics, Watched
from ast_edge.line.triggers.timer import TimerTrigger, TimerTriggerOptions
from tests.line.parts import StillStation, part_result
from tests.line.rig import Remembering

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(metrics: Metrics) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_parts_times_and_the_station() -> None:
    station, plc = StillStation(), Remembering()
    plc.put(part_result(1))
    metrics = Metrics(
        Watched(
            [plc],
            TimerTrigger(TimerTriggerOptions(kind="timer")),
            lambda: {"frames": 12, "dropped": 3},
            lambda: {"score_p50": 0.5},
            lambda: ("it drifts",),
        )
    )
    metrics.start(station)
    for number, verdict in enumerate(["pass", "pass", "reject", "fault"]):
        metrics.put(part_result(number, verdict))  # type: ignore[arg-type]
    found = samples(metrics)
    assert found["ast_edge_parts_total", (("recipe", "first"), ("verdict", "pass"))] == 2
    assert found["ast_edge_parts_total", (("recipe", "first"), ("verdict", "fault"))] == 1
    assert found["ast_edge_verdict_seconds_count", ()] == 4
    assert found["ast_edge_verdict_seconds_bucket", (("le", "0.005"),)] == 4
    assert found["ast_edge_verdict_seconds_bucket", (("le", "0.002"),)] == 0
    assert found["ast_edge_stage_seconds_count", (("stage", "engine"),)] == 4
    assert found["ast_edge_triggers_total", ()] == 12
    assert found["ast_edge_ready", ()] == found["ast_edge_balanced", ()] == 1
    assert found["ast_edge_camera_state", (("state", "live"),)] == 1
    assert found["ast_edge_camera_state", (("state", "lost"),)] == 0
    assert found["ast_edge_camera_total", (("event", "dropped"),)] == 3
    assert found["ast_edge_output_delivered_total", (("output", "remembering"),)] == 1
    assert found["ast_edge_connected", (("counterpart", "trigger timer"),)] == 0
    assert found["ast_edge_drift", (("name", "score_p50"),)] == 0.5
    assert found["ast_edge_warnings", ()] == 1
    faults = [key for key in found if key[0] == "ast_edge_faults_total"]
    assert len(faults) == 1
    station.now = replace(station.now, camera="lost", frame_age_s=None)
    found = samples(metrics)
    assert found["ast_edge_ready", ()] == 0
    assert found["ast_edge_frame_age_seconds", ()] == -1
    metrics.close(1)


def test_counting_a_part_costs_microseconds() -> None:
    metrics, result = Metrics(Watched()), part_result(1)
    started = time.perf_counter()
    for _ in range(2000):
        metrics.put(result)
    assert (time.perf_counter() - started) / 2000 < 1e-3


def test_reasons_from_outside_make_no_endless_series() -> None:
    metrics = Metrics(Watched())
    for number in range(500):
        metrics.put(replace(part_result(number, "fault"), reason=f"something new {number}"))
    assert sum(name == "ast_edge_faults_total" for name, _ in samples(metrics)) == 1


def test_the_board_of_a_jetson(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    write("class/thermal/thermal_zone0/type", "cpu-thermal\n")
    write("class/thermal/thermal_zone0/temp", "48250\n")
    write("class/thermal/thermal_zone1/type", "gpu-thermal\n")
    write("class/thermal/thermal_zone1/temp", "rubbish\n")
    write("class/hwmon/hwmon3/in1_label", "VDD_IN\n")
    write("class/hwmon/hwmon3/in1_input", "5000\n")
    write("class/hwmon/hwmon3/curr1_input", "1640\n")
    write("class/hwmon/hwmon3/in7_label", "sum of shunt voltages\n")
    found = read_board(tmp_path)
    assert found["temperature_cpu-thermal"] == 48.25
    assert found["power_VDD_IN"] == 8.2
    assert not any("gpu-thermal" in name or "shunt" in name for name in found)


def test_this_board_is_read_without_an_error() -> None:
    assert all(isinstance(value, float) for value in read_board().values())
