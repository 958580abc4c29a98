"""Python, the engines, OpenCV and the packages of the line. A look loads what it looks at."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from ast_edge import __version__
from ast_edge.cuda import host, sources
from ast_edge.cuda.device import Device, driver_problem, find_device, missing_for_tensorrt
from ast_edge.doctor.finding import Finding, size
from ast_edge.errors import LineError
from ast_edge.machine.jetson import is_jetson
from ast_edge.trt import flavours
from ast_edge.trt.gpus import takes_rtx
from ast_edge.wording import install_hint

_BUILT_IN = re.compile(r"^\s*(GStreamer|v4l/v4l2):\s*(YES|NO)\b", re.MULTILINE)
_ON_JETSON = (
    "Install JetPack's own with `sudo apt install nvidia-jetpack`, and make the virtual "
    "environment with --system-site-packages."
)


class Package(NamedTuple):
    """A package of the line: its name, its module, the oldest version that will do, and its extra."""

    name: str
    module: str
    oldest: str
    extra: str = "line"


LINE_PACKAGES = (
    Package("pymodbus", "pymodbus", "3.8.2"),
    Package("paho-mqtt", "paho.mqtt", "2.0"),
    Package("asyncua", "asyncua", "2.0.1"),
    Package("cryptography", "cryptography", "42"),
    Package("h11", "h11", "0.16"),
    Package("starlette", "starlette", "1.0"),
    Package("uvicorn", "uvicorn", "0.40"),
    Package("gpiod", "gpiod", "2.1"),
    Package("prometheus-client", "prometheus_client", "0.20"),
)
# Of extras of their own.
PLC_PACKAGES = (
    Package("python-snap7", "snap7", "3.3", "s7"),
    Package("pycomm3", "pycomm3", "1.2.16", "ethernet-ip"),
)


def look_at_python() -> list[Finding]:
    """Python and ast-edge themselves."""
    return [
        Finding("ok", "Python", f"{platform.python_version()} ({platform.machine()}) at {sys.executable}"),
        Finding("ok", "ast-edge", __version__),
    ]


def look_at_onnx_runtime() -> list[Finding]:
    """ONNX Runtime, which runs models on the processor."""
    if importlib.util.find_spec("onnxruntime") is None:
        fix = f"Install it with {install_hint('cpu')} (on a Jetson: `pip install onnxruntime`)."
        return [Finding("note", "ONNX Runtime", "not installed: model files do not run", fix)]
    runtime = importlib.import_module("onnxruntime")
    providers = runtime.get_available_providers()
    if "CPUExecutionProvider" not in providers:
        fix = "Install the usual build with `pip install --force-reinstall onnxruntime`."
        return [
            Finding("problem", "ONNX Runtime", f"{runtime.__version__} without the processor's part", fix)
        ]
    return [Finding("ok", "ONNX Runtime", str(runtime.__version__))]


def look_at_gpu() -> list[Finding]:
    """The NVIDIA driver and its first GPU."""
    if problem := driver_problem():
        fix = "Install NVIDIA's driver if this machine has such a GPU; without one, ONNX Runtime inspects."
        return [Finding("warning" if is_jetson() else "note", "GPU", problem, fix)]
    device = find_device()
    memory = f"{size(device.memory_bytes)}{' shared with the processor' if device.integrated else ''}"
    what = f"{device.name}, {device.architecture}, {memory}, driver for CUDA {device.driver}"
    return [Finding("ok", "GPU", what)]


def look_at_tensorrt() -> list[Finding]:
    """TensorRT, which runs engines on the GPU; loaded only where the driver finds a GPU."""
    if missing := missing_for_tensorrt():
        return [tensorrt_finding(missing, jetson=is_jetson())]
    importlib.import_module("ast_edge.backends.tensorrt")
    return [Finding("ok", "TensorRT", str(sys.modules["tensorrt"].__version__))]


def look_at_rtx() -> list[Finding]:
    """TensorRT for RTX, which runs engines that were built on any machine, on desktop GPUs."""
    if missing := missing_for_tensorrt(flavours.RTX.module):
        fix = "Only engines built with --for rtx need it; it needs NVIDIA's driver and an RTX GPU."
        if not flavours.RTX.installed:
            fix = f"Only engines built with --for rtx need it; install it with {install_hint('rtx')}."
        return [Finding("note", "TensorRT for RTX", " and ".join(missing), fix)]
    device = find_device()
    if not takes_rtx(device.compute_capability, integrated=device.integrated):
        found = f"does not serve {device.name} (compute capability {device.compute_capability})"
        return [Finding("note", "TensorRT for RTX", found, "Use TensorRT on this GPU.")]
    return [Finding("ok", "TensorRT for RTX", version_of("tensorrt-rtx") or "installed")]


def look_at_openvino() -> list[Finding]:
    """OpenVINO, which runs models on the processor as ONNX Runtime does."""
    version = version_of("openvino")
    if version is None:
        fix = f"Often faster than ONNX Runtime on Intel; install it with {install_hint('openvino')}."
        return [Finding("note", "OpenVINO", "not installed", fix)]
    return [Finding("ok", "OpenVINO", version)]


def look_at_frames() -> list[Finding]:
    """What prepares frames for an engine on the processor: compiled kernels, or NumPy."""
    kernels = host.host_kernels()
    if not isinstance(kernels, str):
        return [Finding("ok", "frames", f"prepared by compiled kernels ({kernels.path.name})")]
    fix = "Compile the kernels with `python -m ast_edge.cuda.host_build` (it needs g++)."
    missing = not sources.LIBRARY.exists()
    return [
        Finding("note" if missing else "warning", "frames", f"prepared by NumPy; kernels: {kernels}", fix)
    ]


def look_at_fit() -> list[Finding]:
    """Which engine fits this machine, and why."""
    if driver_problem():
        return [fit_finding(None, jetson=is_jetson(), installed=_installed())]
    return [fit_finding(find_device(), jetson=is_jetson(), installed=_installed())]


def _installed() -> set[str]:
    return {extra for extra, module in _MODULES.items() if importlib.util.find_spec(module) is not None}


_MODULES = {"cpu": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}


def fit_finding(device: Device | None, *, jetson: bool, installed: Collection[str]) -> Finding:
    """The engine for a GPU, or for the processor where `device` is None; `installed` are our extras."""
    if device is None:
        if jetson:
            return Finding("warning", "best engine", "TensorRT, but the GPU is not usable", _ON_JETSON)
        why = "on the processor: no usable NVIDIA GPU; `verify MODEL --backend auto` takes the faster"
        return _fit(f"ONNX Runtime or OpenVINO, {why}", ("cpu", "openvino"), installed)
    gpu = f"{device.name} (compute capability {device.compute_capability})"
    if takes_rtx(device.compute_capability, integrated=device.integrated):
        why = "RTX engines come ready from another machine, TensorRT's are built here"
        return _fit(f"TensorRT for RTX or TensorRT, for {gpu}: {why}", ("rtx", "tensorrt"), installed)
    why = "TensorRT for RTX serves neither Jetsons nor data-centre GPUs"
    finding = _fit(f"TensorRT, for {gpu}: {why}", ("tensorrt",), installed)
    return replace(finding, level="warning", fix=_ON_JETSON) if jetson and finding.fix else finding


def _fit(words: str, extras: Sequence[str], installed: Collection[str]) -> Finding:
    if set(extras) & set(installed):
        return Finding("ok", "best engine", words)
    return Finding("note", "best engine", words, f"Install it with {install_hint(extras[0])}.")


def tensorrt_finding(missing: Sequence[str], *, jetson: bool) -> Finding:
    """What it means that TensorRT cannot run because of `missing`."""
    found = " and ".join(missing)
    if jetson:
        return Finding("warning", "TensorRT", found, _ON_JETSON)
    fix = f"Only engines on an NVIDIA GPU need it; install it with {install_hint('tensorrt')}."
    return Finding("note", "TensorRT", found, fix)


def look_at_opencv() -> list[Finding]:
    """OpenCV, and whether it was built to read GStreamer's and Video4Linux' cameras."""
    if importlib.util.find_spec("cv2") is None:
        fix = f"Install it with {install_hint('cpu')}; a Jetson has it from JetPack."
        return [
            Finding(
                "warning", "OpenCV", "not installed: no videos, depth, overlays or archived pictures", fix
            )
        ]
    cv2 = importlib.import_module("cv2")
    return [opencv_finding(cv2.__version__, cv2.getBuildInformation())]


def opencv_finding(version: str, built: str) -> Finding:
    """What OpenCV's account of its build means."""
    parts = parse_build(built)
    absent = [name for name in ("GStreamer", "V4L2") if not parts.get(name)]
    if not absent:
        return Finding("ok", "OpenCV", f"{version} with GStreamer and V4L2")
    fix = (
        "Use the system's own OpenCV (`sudo apt install python3-opencv`, a Jetson has JetPack's) where "
        "OpenCV itself is to read cameras."
    )
    return Finding("note", "OpenCV", f"{version} without {' and '.join(absent)}", fix)


def parse_build(built: str) -> dict[str, bool]:
    """Which of GStreamer and V4L2 `cv2.getBuildInformation()` says were built in."""
    names = {"GStreamer": "GStreamer", "v4l/v4l2": "V4L2"}
    return {names[name]: answer == "YES" for name, answer in _BUILT_IN.findall(built)}


def look_at_line_packages() -> list[Finding]:
    """The packages that inputs and outputs of a station need, each only where the station uses it."""
    return [package_finding(package, version_of(package.name)) for package in LINE_PACKAGES + PLC_PACKAGES]


def package_finding(package: Package, version: str | None) -> Finding:
    """What the version of a package means; None where it is not installed."""
    fix = f"Install it with {install_hint(package.extra)}."
    if version is None:
        return Finding("note", package.name, "not installed", fix)
    if _numbers(version) < _numbers(package.oldest):
        return Finding("warning", package.name, f"{version}, but {package.oldest} or newer is needed", fix)
    if package.name == "gpiod" and not _has_gpiod():
        return Finding("warning", package.name, f"{version} is hidden by another package of that name", fix)
    return Finding("ok", package.name, version)


def version_of(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,9}", version)[:2])


def _has_gpiod() -> bool:
    from ast_edge.line.links.gpio import check_gpiod  # noqa: PLC0415 (needs pydantic)

    try:
        check_gpiod()
    except LineError:
        return False
    return True
