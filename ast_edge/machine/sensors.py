"""Temperature and power of board and GPU, as far as the machine exposes them.

On Linux they come from sysfs: thermal zones, and monitors under `class/hwmon` (on a Jetson the INA3221 of
each supply rail). A desktop GPU is queried through NVML if the package pynvml is installed. A sensor that
cannot be read is omitted: one that is switched off answers with an error, which is not a fault of the line.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

SYSFS = Path("/sys")
_MOST_FOLDERS = 64
_MOST_CHANNELS = 16
_MOST_READINGS = 100
_LONGEST = 64  # bytes of a sensor's name or number
_NVML_TEMPERATURE_GPU = 0
# Outside these limits a value is not plausible: sensors report such values when they are off.
_COLDEST_C, _HOTTEST_C = -100.0, 250.0
_MOST_W = 10_000.0


@dataclass(frozen=True)
class Reading:
    """The value of one sensor at one moment: `temperature` in degrees Celsius, `power` in watts."""

    kind: Literal["temperature", "power"]
    sensor: str
    value: float

    @property
    def credible(self) -> bool:
        """Whether the value is plausible for a board."""
        if self.kind == "temperature":
            return _COLDEST_C <= self.value <= _HOTTEST_C
        return 0.0 <= self.value <= _MOST_W


class Nvml(Protocol):
    """The part of the module pynvml that is used."""

    def nvmlDeviceGetCount(self) -> int: ...  # noqa: D102, N802 (NVML's own names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: D102, N802

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...  # noqa: D102, N802

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: D102, N802


class WholeNvml(Nvml, Protocol):
    """`Nvml` with the calls that the stopwatch needs in addition."""

    def nvmlDeviceGetClockInfo(self, handle: object, kind: int) -> int: ...  # noqa: D102, N802

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[Any]: ...  # noqa: D102, N802


class Board:
    """The sensors of this machine. `read` is thread-safe and never raises.

    `root` is the mount point of sysfs.
    """

    def __init__(self, root: Path = SYSFS) -> None:
        self._root = root
        self._nvml = find_nvml()

    def read(self) -> tuple[Reading, ...]:
        """Return the current readings; each sensor name occurs once per kind."""
        found: dict[tuple[str, str], Reading] = {}
        for source in (sysfs_readings(self._root), gpu_readings(self._nvml)):
            # A driver may fail in any way, and no such failure may reach the line.
            with contextlib.suppress(Exception):
                for reading in source:
                    found.setdefault((reading.kind, reading.sensor), reading)
        return tuple(islice(found.values(), _MOST_READINGS))


def sysfs_readings(root: Path) -> Iterator[Reading]:
    """Yield temperatures of the thermal zones, then temperatures and powers of the hardware monitors."""
    zones = set()
    for folder in _folders(root / "class/thermal", "thermal_zone"):
        name, milli = _text(folder / "type"), number(folder / "temp")
        if name is not None:
            zones.add(name.replace("_", "-"))
        if name is not None and milli is not None:
            yield from _if_credible(Reading("temperature", name, milli / 1e3))
    for folder in _folders(root / "class/hwmon", "hwmon"):
        name = _text(folder / "name")
        # The kernel lists each thermal zone as a monitor as well.
        if name is not None and name.replace("_", "-") not in zones:
            yield from _monitor(folder, name)


def gpu_readings(nvml: Nvml | None) -> Iterator[Reading]:
    """Yield temperature and power of every GPU known to NVML; a GPU that does not answer is omitted."""
    if nvml is None:
        return
    for index in range(min(nvml.nvmlDeviceGetCount(), _MOST_CHANNELS)):
        with contextlib.suppress(Exception):  # one GPU may have fallen off the bus
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            degrees = float(nvml.nvmlDeviceGetTemperature(handle, _NVML_TEMPERATURE_GPU))
            yield from _if_credible(Reading("temperature", f"gpu{index}", degrees))
            watts = nvml.nvmlDeviceGetPowerUsage(handle) / 1e3
            yield from _if_credible(Reading("power", f"gpu{index}", watts))


def _monitor(folder: Path, name: str) -> Iterator[Reading]:
    """Yield the readings of one monitor; its files hold 0.001 degrees C, microwatts, or mV and mA."""
    for channel in range(1, _MOST_CHANNELS + 1):
        milli = number(folder / f"temp{channel}_input")
        if milli is not None:
            label = _text(folder / f"temp{channel}_label") or f"temp{channel}"
            yield from _if_credible(Reading("temperature", f"{name} {label}", milli / 1e3))
        micro = number(folder / f"power{channel}_input")
        if micro is not None:
            label = _text(folder / f"power{channel}_label") or f"{name} power{channel}"
            yield from _if_credible(Reading("power", label, micro / 1e6))
            continue
        volts = number(folder / f"in{channel}_input")
        amperes = number(folder / f"curr{channel}_input")
        if name.startswith("ina") and volts is not None and amperes is not None:
            # The label names the rail; channels four to seven of an INA3221 are sums without a label.
            rail = _text(folder / f"in{channel}_label")
            if rail is not None and not rail.startswith("sum of"):
                yield from _if_credible(Reading("power", rail, volts * amperes / 1e6))


def _if_credible(reading: Reading) -> Iterator[Reading]:
    if reading.credible:
        yield reading


def _folders(parent: Path, prefix: str) -> list[Path]:
    """Return the numbered subfolders in numerical order."""
    try:
        children = list(islice(parent.iterdir(), 10 * _MOST_FOLDERS))
    except OSError:
        return []
    named = [child for child in children if re.fullmatch(rf"{prefix}[0-9]{{1,6}}", child.name)]
    return sorted(named, key=lambda child: int(child.name.removeprefix(prefix)))[:_MOST_FOLDERS]


def _text(path: Path) -> str | None:
    """Return the single line of a file; None if it is missing, empty or unreadable."""
    try:
        with path.open("rb", buffering=0) as stream:
            text = stream.read(_LONGEST).decode(errors="replace").strip("\0\n\r\t ")
    except (OSError, ValueError):
        return None
    return text or None


def number(path: Path) -> float | None:
    """Return the integer that a file of /sys consists of; None if it is anything else."""
    text = _text(path)
    return float(text) if text is not None and re.fullmatch(r"-?[0-9]{1,18}", text) else None


def find_nvml() -> WholeNvml | None:
    """Return NVML, initialised; None without the package, the driver or a GPU."""
    try:
        import pynvml  # noqa: PLC0415 (optional, and it loads the driver's library)

        start: Callable[[], object] = pynvml.nvmlInit
        start()
        found: WholeNvml = pynvml
    except Exception:  # noqa: BLE001 (its errors are its own classes)
        return None
    return found
