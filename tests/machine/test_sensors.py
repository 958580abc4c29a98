"""Sensors: a folder tree as a Jetson has it, broken ones, and this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.machine.sensors import Board, Reading, gpu_readings, sysfs_readings


def tell(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def jetson(root: Path) -> Path:
    """sysfs of a Jetson Orin, as far as temperatures and power go."""
    for index, (name, milli) in enumerate(
        [("cpu-thermal", 48_250), ("gpu-thermal", 46_500), ("cv0-thermal", None), ("tj-thermal", 49_000)]
    ):
        zone = root / f"devices/virtual/thermal/thermal_zone{index}"
        tell(zone, type=name)
        if milli is None:
            (zone / "temp").mkdir()  # powered off: the kernel answers a read with an error
        else:
            tell(zone, temp=milli)
        link = root / f"class/thermal/thermal_zone{index}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(zone)
    tell(root / "class/thermal/cooling_device0", type="pwm-fan", cur_state=1)
    tell(root / "class/hwmon/hwmon0", name="cpu_thermal", temp1_input=48_250)
    tell(
        root / "class/hwmon/hwmon1",
        name="ina3221",
        in1_label="VDD_GPU_SOC", in1_input=19_000, curr1_input=200,
        in2_label="VDD_CPU_CV", in2_input=19_000, curr2_input=48,
        in3_label="VIN_SYS_5V0", in3_input=5_000, curr3_input=700,
        in4_input=400, in7_label="sum of shunt voltages", in7_input=1_200, curr7_input=5,
    )  # fmt: skip
    tell(root / "class/hwmon/hwmon2", name="tmp451", temp1_input=41_000, temp1_label="board")
    tell(root / "class/hwmon/hwmon3", name="pwmfan", pwm1=80)
    return root


def test_a_jetson_tells_temperatures_and_rails(tmp_path: Path) -> None:
    assert list(Board(jetson(tmp_path)).read()) == [
        Reading("temperature", "cpu-thermal", 48.25),
        Reading("temperature", "gpu-thermal", 46.5),
        Reading("temperature", "tj-thermal", 49.0),
        Reading("power", "VDD_GPU_SOC", 3.8),
        Reading("power", "VDD_CPU_CV", 0.912),
        Reading("power", "VIN_SYS_5V0", 3.5),
        Reading("temperature", "tmp451 board", 41.0),
    ]


def test_a_monitor_that_gives_watts_itself(tmp_path: Path) -> None:
    tell(tmp_path / "class/hwmon/hwmon0", name="amdgpu", power1_input=35_500_000, power1_label="PPT")
    assert list(sysfs_readings(tmp_path)) == [Reading("power", "PPT", 35.5)]


def test_voltages_and_currents_of_other_monitors_are_no_power(tmp_path: Path) -> None:
    """They need not belong together."""
    tell(tmp_path / "class/hwmon/hwmon0", name="nct6775", in1_label="in1", in1_input=12_000, curr1_input=900)
    assert list(sysfs_readings(tmp_path)) == []


@pytest.mark.parametrize("milli", ["-273150", "2147483647", "nan", "1e3", "", "9" * 100, "48 250", "0x30"])
def test_what_no_board_is_is_left_out(tmp_path: Path, milli: str) -> None:
    tell(tmp_path / "class/thermal/thermal_zone0", type="cpu-thermal", temp=milli)
    tell(tmp_path / "class/thermal/thermal_zone1", type="gpu-thermal", temp=45_000)
    assert Board(tmp_path).read() == (Reading("temperature", "gpu-thermal", 45.0),)


@given(content=st.binary(max_size=100), name=st.binary(max_size=100))
def test_rubbish_is_left_out(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: bytes) -> None:
    root = tmp_path_factory.mktemp("sys")
    for folder in (root / "class/thermal/thermal_zone0", root / "class/hwmon/hwmon0"):
        folder.mkdir(parents=True)
        for file in ("type", "name", "in1_label", "temp1_label"):
            (folder / file).write_bytes(name)
        for file in ("temp", "temp1_input", "in1_input", "curr1_input", "power1_input"):
            (folder / file).write_bytes(content)
    for reading in Board(root).read():
        assert reading.credible
        assert 0 < len(reading.sensor) < 150


def test_no_number_of_sensors_is_too_large(tmp_path: Path) -> None:
    for index in range(300):
        tell(tmp_path / f"class/thermal/thermal_zone{index}", type=f"zone{index}", temp=40_000)
    readings = Board(tmp_path).read()
    assert 0 < len(readings) <= 100


def test_nothing_there(tmp_path: Path) -> None:
    assert Board(tmp_path / "absent").read() == ()
    (tmp_path / "class").write_text("a file")
    assert Board(tmp_path).read() == ()


def test_this_machine_can_be_asked() -> None:
    for reading in Board().read():
        assert reading.credible


class TwoGpus:
    """Answers as NVML does; the second GPU has fallen off the bus."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        return index

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:  # noqa: N802, ARG002
        if handle == 1:
            raise RuntimeError("GPU is lost")
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802, ARG002
        return 71_500


def test_a_lost_gpu_does_not_hide_the_other() -> None:
    assert list(gpu_readings(TwoGpus())) == [
        Reading("temperature", "gpu0", 61.0),
        Reading("power", "gpu0", 71.5),
    ]
