"""JetPack, power mode and clocks of a Jetson, and the CPU frequency governor of any machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ast_edge.doctor.finding import Finding
from ast_edge.machine.asking import ROOT, ask, read, tool
from ast_edge.machine.jetson import Release, parse_free_clocks, parse_power_mode, parse_release

_GOVERNORS = "sys/devices/system/cpu"
_OLDEST = 35  # JetPack 5


def look_at_jetpack(root: Path = ROOT) -> list[Finding]:
    """Check the Jetson Linux release and the JetPack package."""
    text = read(root / "etc/nv_tegra_release")
    if text is None:
        return [Finding("ok", "Jetson", "this machine is not one")]
    return [
        _release(parse_release(text)),
        _jetpack(ask("dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack")),
    ]


def _release(release: Release | None) -> Finding:
    if release is None:
        return Finding(
            "note",
            "Jetson",
            "/etc/nv_tegra_release names no release",
            "Print it with `cat /etc/nv_tegra_release` and compare it with the documented releases.",
        )
    if release.major < _OLDEST:
        return Finding(
            "warning",
            "Jetson",
            f"{release}, older than JetPack 5",
            "Flash the board with JetPack 6 or newer.",
        )
    return Finding("ok", "Jetson", str(release))


def _jetpack(version: str | None) -> Finding:
    if version:
        return Finding("ok", "JetPack", version.strip())
    return Finding(
        "note",
        "JetPack",
        "the package nvidia-jetpack is not installed",
        "Install CUDA, TensorRT and OpenCV of JetPack with `sudo apt install nvidia-jetpack`.",
    )


def look_at_power_mode() -> list[Finding]:
    """Check the power mode of a Jetson; no finding without nvpmodel."""
    return [_power_mode(ask("nvpmodel", "-q"))] if tool("nvpmodel") else []


def _power_mode(text: str | None) -> Finding:
    mode = parse_power_mode(text or "")
    if mode is None:
        return Finding(
            "note", "power mode", "nvpmodel does not report it", "Query it with `sudo nvpmodel -q`."
        )
    if mode.upper().startswith("MAXN"):
        return Finding("ok", "power mode", mode)
    return Finding(
        "note",
        "power mode",
        f"{mode}: processor and GPU run below their maximum",
        "Choose a mode of /etc/nvpmodel.conf with `sudo nvpmodel -m NUMBER`, as supply and cooling allow.",
    )


def look_at_clocks(root: Path = ROOT) -> list[Finding]:
    """Check whether the clocks are locked at their maximum, so that each part takes the same time."""
    if tool("jetson_clocks"):
        return [_clocks(ask("jetson_clocks", "--show"))]
    files = sorted((root / _GOVERNORS).glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return [governor_finding(filter(None, map(read, files)))]


def _clocks(text: str | None) -> Finding:
    free = parse_free_clocks(text or "")
    if free is None:
        return Finding(
            "note",
            "clocks",
            "jetson_clocks shows them to administrators only",
            "Show them with `sudo jetson_clocks --show`; `sudo jetson_clocks` locks them at their maximum.",
        )
    if not free:
        return Finding("ok", "clocks", "held at their maximum")
    return Finding(
        "warning",
        "clocks",
        f"they follow the load ({', '.join(free)}), so latencies vary",
        "Lock them at their maximum with `sudo jetson_clocks` after each boot.",
    )


def governor_finding(governors: Iterable[str]) -> Finding:
    """Return the finding for the CPU frequency governors; the list is empty if the machine hides them."""
    names = sorted({name.strip() for name in governors})
    if not names:
        return Finding("ok", "clocks", "not reported by this machine")
    if names == ["performance"]:
        return Finding("ok", "clocks", "governor performance")
    return Finding(
        "note",
        "clocks",
        f"governor {', '.join(names)}: the processor follows the load, so latencies vary",
        "Lock the clock at its maximum with `sudo cpupower frequency-set -g performance`.",
    )
