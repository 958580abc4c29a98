"""Situations in which a station sees a part too late, or a picture too early, with random times."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from benchmarks.line.bench import STREAM_LATE_MS, Bench, Plan, has_quotas
from benchmarks.line.camera import SERIAL
from benchmarks.line.reports import REPORTS
from benchmarks.line.scenario import Chance, Drawn, Scenario, calm

_MODBUS = 'kind = "modbus"'


def _judged(bench: Bench, part: int) -> None:
    bench.verdict(part)


def _stopped(bench: Bench, chance: Chance) -> Drawn:
    """The station is stopped while a part passes."""
    calm(bench)
    bench.signal(signal.SIGSTOP)
    before_ms = chance.wait(0, 50)
    part = bench.part()
    after_ms = chance.wait(9_900, 10_000) if chance.long else chance.wait(260, 600)
    bench.signal(signal.SIGCONT)
    _judged(bench, part)
    if chance.long:
        time.sleep(1.0)  # the camera may have dropped the station's connection
    return {"stopped_before_part": before_ms, "stopped_after_part": after_ms}


def _free_camera_stalls(bench: Bench, chance: Chance) -> Drawn:
    """The camera stands still while a part passes: its next frame shows what comes after the part."""
    calm(bench)
    bench.camera.signal(signal.SIGSTOP)
    before_ms = chance.wait(0, 50)
    part = bench.part()
    after_ms = chance.wait(bench.plan.stay_ms + 10, bench.plan.stay_ms + 500)
    bench.camera.signal(signal.SIGCONT)
    _judged(bench, part)
    time.sleep(0.2)
    return {"stopped_before_part": before_ms, "stopped_after_part": after_ms}


def _starved(bench: Bench, chance: Chance) -> Drawn:
    """The station runs only briefly now and then, as under a CPU quota, while parts pass."""
    calm(bench)
    parts, rests = [], []
    for _ in range(6 if chance.long else 3):
        parts.append(bench.part())
        for _ in range(3):
            bench.signal(signal.SIGSTOP)
            rests.append(chance.wait(100, 400))
            bench.signal(signal.SIGCONT)
            chance.wait(5, 30)
    for part in parts:
        _judged(bench, part)
    return {"longest_stop": max(rests), "shortest_stop": min(rests)}


def _quota(bench: Bench, chance: Chance) -> Drawn:
    """The station has too small a CPU share while parts pass."""
    calm(bench)
    share = chance.rng.uniform(0.02, 0.2)
    parts, gaps = [], []
    with bench.quota(share):
        for _ in range(6 if chance.long else 3):
            parts.append(bench.part())
            gaps.append(chance.wait(300, 500))
    for part in parts:
        _judged(bench, part)
    return {"per_100_ms": round(share * 100, 1), "shortest_period": min(gaps)}


def _early_stream(bench: Bench, chance: Chance) -> Drawn:
    """Pictures from the network are old, and nothing in the stream shows it."""
    phase_ms = chance.wait(0, 100)
    calm(bench)
    apart_ms = chance.wait(bench.plan.stay_ms, bench.plan.stay_ms + 200)
    return {"late": STREAM_LATE_MS, "phase": phase_ms, "apart": apart_ms}


def _slow_plc(delay_ms: float) -> Callable[[Bench, Chance], Drawn]:
    def do(bench: Bench, chance: Chance) -> Drawn:
        """The PLC answers late, and the camera has shown an empty belt meanwhile."""
        bench.plc.spoil("ok", delay_s=delay_ms / 1e3)
        phase_ms = chance.wait(0, 2 * delay_ms)
        calm(bench)
        gone_ms = chance.wait(bench.plan.stay_ms, bench.plan.stay_ms + 200)
        return {"answer": delay_ms, "phase": phase_ms, "apart": gone_ms}

    return do


def _late_camera(bench: Bench, chance: Chance) -> Drawn:
    """Frames leave the camera after the deadline of their parts, just when the next part is in place."""
    late_ms = 330.0
    bench.camera.late(late_ms)
    parts, gaps = [], []
    for _ in range(6 if chance.long else 3):
        parts.append(bench.part())
        gaps.append(chance.wait(late_ms - 5, late_ms + 15))
    for part in parts:
        _judged(bench, part)
    time.sleep(late_ms / 1e3)
    bench.camera.late(0)
    calm(bench)
    return {"late": late_ms, "shortest_period": min(gaps), "longest_period": max(gaps)}


def _silent_camera(bench: Bench, chance: Chance) -> Drawn:
    """The camera accepts no request for a while: its library blocks the station's thread."""
    calm(bench)
    bench.camera.signal(signal.SIGSTOP)
    part = bench.part()
    silent_ms = chance.wait(260, 900)
    bench.camera.signal(signal.SIGCONT)
    _judged(bench, part)
    time.sleep(0.2)
    return {"silent": silent_ms}


def _stalled_broker(bench: Bench, chance: Chance) -> Drawn:
    """Messages are delayed in the network while their parts pass; the connection lives."""
    calm(bench)
    bench.broker.signal(signal.SIGSTOP)
    part = bench.part()
    stalled_ms = chance.wait(4_500, 4_600) if chance.long else chance.wait(260, 700)
    bench.broker.signal(signal.SIGCONT)
    _judged(bench, part)
    return {"stalled": stalled_ms}


_PROMPT = "deadline_ms = 2000"
SCENARIOS: dict[str, Scenario] = {
    "stopped": Scenario("SIGSTOP while a part passes, Modbus", Plan(_MODBUS, _PROMPT), _stopped),
    "starved": Scenario("a station that runs now and then", Plan(_MODBUS, _PROMPT), _starved),
    "free_camera_stalls": Scenario(
        "a camera that runs freely and stands still while a part passes",
        Plan(
            _MODBUS,
            f"{_PROMPT}\nsettle_ms = 0",
            f"gige://{SERIAL}?trigger=off&rate=30&packet_size=9000",
            stay_ms=400.0,
        ),
        _free_camera_stalls,
    ),
    "stopped_http": Scenario(
        "SIGSTOP while a part is announced by HTTP",
        Plan('kind = "software"\nmax_age_ms = 100', _PROMPT),
        _stopped,
    ),
    "stalled_broker": Scenario(
        "a broker that stands still, MQTT", Plan('kind = "mqtt"\nmax_age_ms = 100', _PROMPT), _stalled_broker
    ),
    **{
        f"slow_plc_{delay_ms}": Scenario(
            f"a PLC that answers in {delay_ms} ms, a camera that runs freely",
            Plan(
                f"{_MODBUS}\nmax_gap_ms = 500\ntimeout_ms = 1000",
                f"{_PROMPT}\nsettle_ms = 0\npicture_within_ms = 250",
                f"gige://{SERIAL}?trigger=off&rate=30&packet_size=9000",
                stay_ms=800.0,
            ),
            _slow_plc(delay_ms),
        )
        for delay_ms in (50, 150)
    },
    "rtsp": Scenario(
        f"an RTSP camera whose pictures are {STREAM_LATE_MS:g} ms old when they leave it",
        Plan(
            _MODBUS,
            "deadline_ms = 4000\nsettle_ms = 0\npicture_within_ms = 1800",
            "rtsp://127.0.0.1:{port}/cam",
            # Encoder and network of a busy machine; the time limit of the picture starts there.
            f"delay_ms = {STREAM_LATE_MS + 850:g}",
            stay_ms=2000.0,
        ),
        _early_stream,
    ),
    "late_camera": Scenario(
        "frames 330 ms late, 300 ms allowed, parts as often",
        Plan(_MODBUS, "deadline_ms = 300"),
        _late_camera,
    ),
    "silent_camera": Scenario(
        "a camera that takes no request", Plan(_MODBUS, "deadline_ms = 5000"), _silent_camera
    ),
}
SCENARIOS |= REPORTS
if has_quotas():
    SCENARIOS["quota"] = Scenario("a small share of the processor", Plan(_MODBUS, _PROMPT), _quota)
