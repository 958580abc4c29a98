"""Temperatures and power of the board, as Linux tells them in sysfs, and of an NVIDIA card by NVML."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_SYS = Path("/sys")
_MOST = 64


def read_board(sys: Path = _SYS) -> dict[str, float]:
    """`temperature_<zone>` in degrees Celsius and `power_<rail>` in watts; empty where nothing is readable.

    Thermal zones are those of the kernel; rails are those of the INA3221 monitors of a Jetson. Never raises.
    """
    found: dict[str, float] = {}
    for name, value in (*_zones(sys), *_rails(sys), *_nvml()):
        if len(found) < _MOST:
            found.setdefault(name, value)
    return found


def _zones(sys: Path) -> Iterator[tuple[str, float]]:
    for zone in sorted(sys.glob("class/thermal/thermal_zone*")):
        name, value = _text(zone / "type"), _number(zone / "temp")
        if name and value is not None:
            yield f"temperature_{name}", value / 1e3


def _rails(sys: Path) -> Iterator[tuple[str, float]]:
    """Millivolts times milliamperes of every labelled channel; channels of shunt sums have no voltage."""
    for monitor in sorted(sys.glob("class/hwmon/hwmon*")):
        for label in sorted(monitor.glob("in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            name = _text(label)
            volts, amperes = (
                _number(monitor / f"in{channel}_input"),
                _number(monitor / f"curr{channel}_input"),
            )
            if name and volts is not None and amperes is not None:
                yield f"power_{name}", volts * amperes / 1e6


def _nvml() -> Iterator[tuple[str, float]]:
    try:
        import pynvml  # noqa: PLC0415 (only where somebody installed it)
    except ImportError:
        return
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            card = pynvml.nvmlDeviceGetHandleByIndex(index)
            yield f"temperature_gpu{index}", float(pynvml.nvmlDeviceGetTemperature(card, 0))
            yield f"power_gpu{index}", pynvml.nvmlDeviceGetPowerUsage(card) / 1e3


def _text(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if text and len(text) <= 64 and text.isprintable() else None


def _number(path: Path) -> float | None:
    text = _text(path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
