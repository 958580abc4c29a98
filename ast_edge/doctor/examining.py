"""Run each probe in its own process: one that hangs or crashes in a library becomes a finding."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from ast_edge.doctor import cameras, jetson, machine, software
from ast_edge.doctor.finding import Finding
from ast_edge.errors import reason, sentence
from ast_edge.wording import install_hint

ENGINES = ("ONNX Runtime", "TensorRT", "TensorRT for RTX")
_AT_ONCE = 4
_DYING_S = 2.0
# The same search path as here, so that the process sees the packages that inspection would use.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ast_edge.doctor.examining import answer; answer(sys.argv[2])"
)


@dataclass(frozen=True)
class Probe:
    """One probe of the machine and its time limit in seconds."""

    look: Callable[[], list[Finding]]
    limit_s: float = 20.0


PROBES = {
    "Python": Probe(software.look_at_python),
    "ONNX Runtime": Probe(software.look_at_onnx_runtime, 60.0),
    "GPU": Probe(software.look_at_gpu, 30.0),
    "TensorRT": Probe(software.look_at_tensorrt, 60.0),
    "TensorRT for RTX": Probe(software.look_at_rtx, 30.0),
    "OpenVINO": Probe(software.look_at_openvino),
    "best engine": Probe(software.look_at_fit, 30.0),
    "frames": Probe(software.look_at_frames),
    "OpenCV": Probe(software.look_at_opencv, 60.0),
    "Jetson": Probe(jetson.look_at_jetpack),
    "power mode": Probe(jetson.look_at_power_mode),
    "clocks": Probe(jetson.look_at_clocks),
    "GStreamer": Probe(cameras.look_at_gstreamer, 60.0),
    "Aravis": Probe(cameras.look_at_aravis, 30.0),
    "pylon": Probe(cameras.look_at_pylon, 30.0),
    "RealSense": Probe(cameras.look_at_realsense, 30.0),
    "cameras": Probe(cameras.look_at_cameras, 30.0),
    "network buffer": Probe(machine.look_at_receive_buffer),
    "line packages": Probe(software.look_at_line_packages),
    "GPIO": Probe(machine.look_at_gpio),
    "memory": Probe(machine.look_at_memory),
    "disk": Probe(machine.look_at_disk),
    "time": Probe(machine.look_at_time),
}


def examine() -> list[Finding]:
    """Run all probes; the last finding says whether inspection is possible. Takes some seconds."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda item: look_apart(item[0], item[1].limit_s), PROBES.items())
        findings = [finding for found in answers for finding in found]
    return [*findings, inspection(findings)]


def inspection(findings: Sequence[Finding]) -> Finding:
    """Return the finding whether an engine is usable on this machine."""
    usable = [finding.what for finding in findings if finding.what in ENGINES and finding.level == "ok"]
    if usable:
        return Finding("ok", "inspection", f"possible, by {', '.join(usable)}")
    fix = f"Install ONNX Runtime with {install_hint('cpu')} (on a Jetson: `pip install onnxruntime`)."
    return Finding("problem", "inspection", "impossible: neither ONNX Runtime nor TensorRT is usable", fix)


def look_apart(name: str, limit_s: float) -> list[Finding]:
    """Run `PROBES[name]` in its own process; return its findings, or one that describes its failure."""
    command = [sys.executable, "-W", "ignore", "-c", _START, json.dumps(sys.path), name]
    try:
        process = subprocess.Popen(  # noqa: S603 (this Python itself)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as exc:
        return [_failed(name, f"could not be looked at ({reason(exc)})")]
    try:
        out, said = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return [_failed(name, f"did not answer within {limit_s:g} s")]
    finally:
        _put_away(process)
    try:
        return [Finding(**finding) for finding in json.loads(out)]
    except (ValueError, TypeError):
        return [_failed(name, f"ended the process that looked at it ({_end(process.returncode, said)})")]


def _put_away(process: subprocess.Popen[bytes]) -> None:
    """Kill the process if it runs. One that hangs in a kernel driver cannot be killed and is abandoned."""
    if process.poll() is None:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_DYING_S)
    for pipe in filter(None, (process.stdout, process.stderr)):
        pipe.close()


def answer(name: str) -> None:
    """Child process: run the probe, print the findings as JSON and exit at once. Does not return.

    What libraries print goes to stderr. They are not asked to clean up: some crash there.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        findings = PROBES[name].look()
    except Exception as exc:  # noqa: BLE001 (any exception of a library is the finding)
        findings = [_failed(name, f"failed: {sentence(exc)[:300]}")]
    with contextlib.suppress(OSError), os.fdopen(out, "w", encoding="utf-8") as file:
        json.dump([asdict(finding) for finding in findings], file)
    os._exit(0)


def _failed(name: str, found: str) -> Finding:
    fix = "Reinstall or update it, then run `ast-edge doctor` again; report it if that does not help."
    return Finding("problem", name, found, fix)


def _end(code: int, said: bytes) -> str:
    lines = said.decode(errors="replace").split("\n")
    last = next((line.strip()[:200] for line in reversed(lines) if line.strip()), "it said nothing")
    return f"{f'signal {-code}' if code < 0 else f'exit code {code}'}: {last}"
