"""Facts about the machine a measurement was made on, part of every result file."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ast_edge.machine.asking import ROOT, ask, read
from ast_edge.machine.jetson import parse_power_mode, parse_release
from ast_edge.machine.processor import processor_name
from ast_edge.version import VERSION

PACKAGES = (
    "torch",
    "timm",
    "FrEIA",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "numpy",
    "pillow",
    "opencv-python-headless",
)


def facts(root: Path = ROOT) -> dict[str, object]:
    """Return processor, memory, GPU, board, power mode, system, versions and the git revision of this code.

    A fact that the machine does not report is None.
    """
    return {
        "cpu": processor_name(root),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "gpu": _one_line(ask("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")),
        "board": _board(root),
        "power_mode": parse_power_mode(ask("nvpmodel", "-q") or ""),
        "governor": _one_line(read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"ast-edge": VERSION, **_versions()},
        "revision": _revision(),
    }


def _board(root: Path) -> str | None:
    """Return the name of a Jetson and its Jetson Linux release, None on other machines."""
    release = parse_release(read(root / "etc/nv_tegra_release") or "")
    if release is None:
        return None
    name = _one_line(read(root / "proc/device-tree/model"))
    return f"{name or 'NVIDIA Jetson'}, {release}"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _revision() -> str | None:
    """Return the revision of the git work tree that holds this file; None if installed from a wheel."""
    here = str(Path(__file__).parent)
    # An untracked file lies in another project's work tree, for example in its virtual environment.
    if ask("git", "-C", here, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    revision = _one_line(ask("git", "-C", here, "rev-parse", "--short=12", "HEAD"))
    # Results and the tables generated from them do not change what is measured.
    paths = (":/", ":(top,exclude)benchmarks/results", ":(top,exclude)*.md")
    changed = _one_line(ask("git", "-C", here, "status", "--porcelain", "--untracked-files=no", "--", *paths))
    return f"{revision} with changes" if revision and changed else revision


def _one_line(text: str | None) -> str | None:
    words = (text or "").replace("\0", " ").split()
    return " ".join(words) or None
