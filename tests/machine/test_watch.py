"""Other load on the machine: the real /proc, and file trees of a Jetson and a PC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ast_edge.machine import watch as module
from ast_edge.machine.facts import facts
from ast_edge.machine.watch import Surroundings, Watch, memory
from tests.machine.test_sensors import jetson, tell
from tests.paths import ROOT
from tests.standin.nvml import Card


def watched(root: Path, parts: int = 10, seconds: float = 0.0, *, gpu: bool = False) -> Surroundings:
    with Watch(root) as watch:
        time.sleep(seconds)
    return watch.seen(parts, gpu=gpu)


@pytest.mark.slow
def test_another_programs_work_is_seen() -> None:
    """One busy process beside this idle one; the machine's own noise only adds to it."""
    quiet = watched(Path("/"), seconds=1.0)
    spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        busy = watched(Path("/"), seconds=1.5)
    finally:
        spin.kill()
        spin.wait()
    for seen in (quiet, busy):
        assert seen.load.own_cores is not None
        assert seen.load.own_cores < 0.5
        assert seen.load.cores == os.cpu_count()
    assert busy.load.other_cores is not None
    # On a machine whose processors are all busy already, it gets its share of one of them.
    assert busy.load.other_cores > 0.4


@pytest.mark.slow
def test_own_work_is_not_taken_for_others() -> None:
    with Watch() as watch:
        until = time.process_time() + 0.8
        while time.process_time() < until:
            pass
    seen = watch.seen(1)
    assert seen.load.own_cores is not None
    assert seen.load.own_cores * seen.seconds == pytest.approx(0.8, abs=0.3)


def test_memory_is_this_process() -> None:
    before = memory()
    assert before.resident is not None
    kept = bytearray(os.urandom(1)) * 80_000_000
    after = memory()
    assert after.resident is not None
    assert after.resident - before.resident > 60_000_000
    del kept
    assert after.peak is not None
    assert after.peak >= after.resident


def test_a_machine_that_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_nvml", lambda: None)
    seen = watched(tmp_path)
    assert seen.load.other_cores is None
    assert (seen.power.watts, seen.power.mj_per_part, seen.throttled) == (None, None, None)
    assert seen.start.temperatures == {}


def test_a_jetsons_rails_are_its_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.01)
    sysfs = jetson(tmp_path / "sys")
    tell(sysfs / "class/devfreq/17000000.gpu", cur_freq=918_000_000)
    tell(sysfs / "devices/system/cpu/cpu0/cpufreq", scaling_cur_freq=1_984_000)
    tell(sysfs / "class/hwmon/hwmon7", name="soctherm_oc", oc1_event_cnt=3, oc2_event_cnt=0)
    with Watch(tmp_path) as watch:
        time.sleep(0.2)
        tell(sysfs / "class/hwmon/hwmon7", oc2_event_cnt=1)
        tell(sysfs / "devices/virtual/thermal/thermal_zone0", temp=55_000)
    seen = watch.seen(parts=100)
    assert seen.power.of == "the board (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)"
    assert seen.power.watts == pytest.approx(3.8 + 0.912 + 3.5)
    assert seen.power.mj_per_part == pytest.approx(8.212 * seen.seconds * 1000 / 100, rel=5e-3)
    assert (seen.start.cpu_mhz, seen.start.gpu_mhz) == (1984.0, 918.0)
    assert seen.start.temperatures["cpu-thermal"] == 48.2
    assert seen.end.temperatures["cpu-thermal"] == 55.0
    assert seen.throttled == ("the board's overcurrent limit (oc2)",)


def test_a_board_with_one_input_rail_uses_that_rail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY_S", 0.01)
    tell(
        tmp_path / "sys/class/hwmon/hwmon1",
        name="ina3221",
        in1_label="VDD_IN", in1_input=5_000, curr1_input=1_400,
        in2_label="VDD_CPU_GPU_CV", in2_input=5_000, curr2_input=500,
    )  # fmt: skip
    seen = watched(tmp_path, seconds=0.1)
    assert (seen.power.of, seen.power.watts) == ("the board (VDD_IN)", 7.0)
    assert seen.power.sensors == {"VDD_IN": 7.0, "VDD_CPU_GPU_CV": 2.5}


def test_a_pcs_energy_counter_and_a_hot_processor(tmp_path: Path) -> None:
    package = tmp_path / "sys/class/powercap/intel-rapl:0"
    core = tmp_path / "sys/devices/system/cpu/cpu3/thermal_throttle"
    tell(package, name="package-0", energy_uj=1_000_000)
    tell(tmp_path / "sys/class/powercap/intel-rapl:1", name="psys", energy_uj=7_000_000)
    tell(core, core_throttle_count=5, package_throttle_count=9)
    tell(tmp_path / "sys/devices/system/cpu/cpu0/thermal_throttle", core_throttle_count=100)
    with Watch(tmp_path) as watch:
        time.sleep(0.05)
        tell(package, energy_uj=3_000_000)
        tell(tmp_path / "sys/class/powercap/intel-rapl:1", energy_uj=19_000_000)
        tell(core, core_throttle_count=6)
    seen = watch.seen(10)
    assert seen.power.of == "the processor alone"
    assert seen.power.mj_per_part == pytest.approx(200, rel=1e-3)
    assert seen.throttled == ("the processor's heat (core)",)


def test_a_gpu_is_asked_through_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_nvml", Card)
    monkeypatch.setattr("ast_edge.machine.sensors.find_nvml", Card)
    seen = watched(tmp_path, gpu=True)
    assert (seen.power.of, seen.power.watts) == ("the GPU alone", 250.0)
    assert seen.start.gpu_mhz == 1980.0
    assert seen.throttled == ("the GPU's power cap",)
    assert memory(tmp_path, Card()).gpu == 300_000_000
    on_the_cpu = watched(tmp_path)
    assert (on_the_cpu.power.of, on_the_cpu.power.sensors["gpu0"]) == (None, 250.0)


def test_a_counter_that_ran_over_tells_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/powercap"
    for index in (0, 1):
        tell(folder / f"intel-rapl:{index}", name=f"package-{index}", energy_uj=9_000_000)
    with Watch(tmp_path) as watch:
        tell(folder / "intel-rapl:0", energy_uj=10_000_000)
        tell(folder / "intel-rapl:1", energy_uj=5)
    assert watch.seen(10).power.watts is None


def test_power_drawn_by_two_models_is_attributed_to_neither(tmp_path: Path) -> None:
    tell(
        tmp_path / "sys/class/hwmon/hwmon1",
        name="ina3221",
        in1_label="VDD_IN", in1_input=5_000, curr1_input=1_400,
    )  # fmt: skip
    with Watch(tmp_path) as watch:
        pass
    seen = watch.seen(None)
    assert (seen.power.watts, seen.power.mj_per_part) == (7.0, None)


def test_facts_name_this_machine_and_this_revision(tmp_path: Path) -> None:
    found = facts()
    assert found["cores"] == os.cpu_count()
    assert found["cpu"]
    versions = found["versions"]
    assert isinstance(versions, dict)
    assert "numpy" in versions
    git = shutil.which("git")
    head = ROOT / ".git"
    if git and head.exists():
        shown = subprocess.run(
            [git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=head.parent
        )
        assert shown.stdout[:12] in str(found["revision"])
    tell(tmp_path / "etc", nv_tegra_release="# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic")
    tell(tmp_path / "proc/device-tree", model="NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0")
    board = facts(tmp_path)["board"]
    assert board == "NVIDIA Jetson Orin NX Engineering Reference Developer Kit, Jetson Linux 36.4.3"
