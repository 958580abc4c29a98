"""Situations in which a station might report to a PLC that all is well, or count parts that it never saw."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from benchmarks.line.bench import Bench, Plan, readiness, wait_for
from benchmarks.line.plc import BLOCK
from benchmarks.line.scenario import Chance, Drawn, Scenario, calm

_MODBUS = 'kind = "modbus"'
_PROMPT = "deadline_ms = 2000"
_STATE_AT, _GAPS_AT, _CLAIM_AT = BLOCK + 16, BLOCK + 19, BLOCK + 20
_NOT_READY, _ATTENTION, _GAPS = 5, 6, 16
# A dead trigger is known after its time limit and a heartbeat; the rest is for a busy machine.
_TOLD_MS = 1000.0
_TAKEN_S = 60.0
_TOLD_S = 20.0


def _dead_trigger(bench: Bench, chance: Chance) -> Drawn:
    """The source of triggers dies; or, if it is a PLC, answers nothing while a part passes."""
    calm(bench)
    silent = bench.plan.kind == "modbus" and chance.rng.random() < 0.5
    source = bench.plc if bench.plan.kind == "modbus" else bench.broker
    unseen: list[int] = []
    if silent:
        bench.plc.spoil("silent")
        unseen.append(bench.part())
    else:
        source.kill()
    dead_ns = time.monotonic_ns()
    off_ms = chance.wait(_TOLD_MS + 500, _TOLD_MS + (4000 if chance.long else 1000))
    back_ns = time.monotonic_ns()
    if silent:
        bench.plc.spoil("ok")
    else:
        source.start()
    written_ms = _untrue_states(bench, dead_ns, back_ns)
    for part in unseen:
        _told(bench, part)
    return {"off": off_ms, "silent": float(silent), "told_after": written_ms}


def _untrue_states(bench: Bench, dead_ns: int, back_ns: int) -> float:
    """Check the state in the PLC while the trigger was dead; return after how many ms it was right."""
    states = [(event["at_ns"], event["values"][:2]) for event in _state_writes(bench)]
    written = [at_ns for at_ns, (_, state) in states if dead_ns < at_ns < back_ns and state == _NOT_READY]
    written_ms = ((written[0] if written else back_ns) - dead_ns) / 1e6
    if written_ms > _TOLD_MS:
        bench.lies.append(
            f"the PLC read for {written_ms:.0f} ms that a part would be judged, without a trigger"
        )
    later = [value for at_ns, value in states if written and written[0] <= at_ns < back_ns]
    if any(before != after for before, after in pairwise(later)):
        bench.lies.append(f"state and heartbeat moved while the trigger was dead: {later[:20]}")
    return round(written_ms, 1)


def _leap(bench: Bench, chance: Chance) -> Drawn:
    """More parts pass at once than can have been there, and then one that is seen."""
    calm(bench)
    before = bench.plc.ask("get")["counter"]
    unseen = chance.rng.randrange(1001, 100_000)
    bench.plc.ask("counter", value=before + unseen)
    rest_ms = chance.wait(150, 400)  # a station that sees the part with the others cannot count it, either
    bench.part()
    chance.wait(bench.plan.stay_ms, bench.plan.stay_ms + 50)
    try:
        wait_for(lambda: _sees_gap(bench), _TOLD_S, "the PLC does not see the gap")
    except RuntimeError as exc:
        bench.lies.append(f"{exc}: {bench.acts.get(_STATE_AT, 4)}")
    return {"rest": rest_ms}


def _sees_gap(bench: Bench) -> bool:
    """Whether the PLC reads a state that is not well, and the gaps among the reasons."""
    state, condition, gaps = bench.acts.get(_STATE_AT + 1, 3)
    return state in (_NOT_READY, _ATTENTION) and bool(condition & _GAPS) and gaps > 0


def _told(bench: Bench, part: int) -> None:
    """Wait for the verdict on a part; none is a lie, too: the part has passed."""
    try:
        bench.verdict(part)
    except RuntimeError as exc:
        bench.lies.append(str(exc))


def _repeated_names(bench: Bench, chance: Chance) -> Drawn:
    """Parts of an MQTT trigger have the same name, one after the other."""
    calm(bench)
    parts, gaps = [], []
    for _ in range(10 if chance.long else 4):
        parts.append(bench.part(name=str(chance.rng.randrange(2))))
        gaps.append(chance.wait(bench.plan.stay_ms, bench.plan.stay_ms + 100))
    for part in parts:
        _told(bench, part)
    return {"shortest_period": min(gaps)}


def _second_station(bench: Bench, chance: Chance) -> Drawn:
    """Another station is started on the registers of this one, while parts pass."""
    calm(bench)
    claim = bench.acts.get(_CLAIM_AT, 2)
    came_ms = chance.wait(0, 100)
    with bench.second() as port:
        wait_for(lambda: "written by station" in readiness(port)[1], _TAKEN_S, "the other one is not refused")
        for _ in range(3):
            _told(bench, bench.part())
            chance.wait(bench.plan.stay_ms, bench.plan.stay_ms + 50)
    if bench.acts.get(_CLAIM_AT, 2) != claim:
        bench.lies.append("the registers changed their owner while it lived")
    return {"came": came_ms}


def _state_writes(bench: Bench) -> list[dict[str, Any]]:
    return [event for event in bench.acts.events("registers") if event["address"] == _STATE_AT]


def untrue_counts(bench: Bench) -> list[str]:
    """Check every result that the PLC read: each part once, and counters that add up to `judged`, but for
    parts that are missing because of gaps that the PLC had read before.
    """
    found, gaps, missing, times = [], 0, 0, 0
    seen: set[int] = set()
    # First the events: the station goes on writing, and each of them has its result in what is read later.
    events = list(bench.acts.events("registers"))
    results = iter(bench.acts.results(BLOCK))
    for event in events:
        if event["address"] == _STATE_AT:
            gaps = event["values"][_GAPS_AT - _STATE_AT]
        elif event["address"] == BLOCK:
            result = next(results)
            if result.id in seen:
                found.append(f"part {result.id} has two results")
            seen.add(result.id)
            unseen = result.judged - result.passed - result.rejected - result.faults
            times += unseen != missing
            missing = unseen
            if times > gaps:
                found.append(f"judged is {result.judged}, {unseen} parts have no verdict, and gaps is {gaps}")
    return found


def _reporting(trigger: str, heartbeat_ms: float = 50.0, stay_ms: float = 250.0) -> Plan:
    return Plan(trigger, _PROMPT, heartbeat_ms=heartbeat_ms, stay_ms=stay_ms)


_MQTT = 'kind = "mqtt"\nmax_age_ms = 100'
REPORTS: dict[str, Scenario] = {
    "dead_trigger": Scenario(
        "a PLC with the triggers that dies or is silent", _reporting(_MODBUS), _dead_trigger
    ),
    "dead_broker": Scenario("a broker with the triggers that dies", _reporting(_MQTT), _dead_trigger),
    # The heartbeat comes long after the next result.
    "counter_leaps": Scenario(
        "a part counter that leaps by more than can be missed", _reporting(_MODBUS, 1000.0), _leap
    ),
    "repeated_names": Scenario("MQTT triggers with the same id", Plan(_MQTT, _PROMPT), _repeated_names),
    "second_station": Scenario(
        "a second station on the same registers", _reporting(_MODBUS), _second_station
    ),
}
