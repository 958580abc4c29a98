"""Load, memory, power, temperature, clocks and throttling of the machine during a measurement.

A thread samples power, temperature and throttling twice a second, rarely enough not to affect the timings.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ast_edge.machine.asking import ROOT, read
from ast_edge.machine.record import Strict
from ast_edge.machine.sensors import Board, Nvml, WholeNvml, find_nvml, number

if TYPE_CHECKING:
    from typing_extensions import Self

_EVERY_S = 0.5
_SM_CLOCK = 1  # of NVML's clocks, that of the multiprocessors
_MEMORY = re.compile(r"^(VmRSS|VmHWM):\s*(\d{1,15}) kB$", re.MULTILINE)
# Sets of rails that add up to the power of the whole board; the first complete set is used.
_WHOLE_BOARD = (("VDD_IN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
# Bits of NVML's reasons for reduced clocks: power cap, hardware slowdown, heat (two bits), power brake.
_THROTTLED = {
    0x04: "the GPU's power cap",
    0x08: "a hardware slowdown of the GPU",
    0x20: "the GPU's heat",
    0x40: "the GPU's heat (hardware)",
    0x80: "the GPU's power brake",
}


class Load(Strict):
    """Average number of busy processors, by this process and by all others; None if not reported."""

    own_cores: float | None
    other_cores: float | None
    cores: int


class Memory(Strict):
    """Bytes resident now, at the peak, and held on the GPU by this process; None if not reported."""

    resident: int | None
    peak: int | None
    gpu: int | None


class Power(Strict):
    """Mean power in watts per sensor while parts were judged, and energy in millijoules per part.

    `of` says what `watts` covers: the board, else the GPU for an engine that runs there, else the processor.
    All are None without such a sensor; `mj_per_part` is None as well if two models took turns.
    """

    sensors: dict[str, float]
    of: str | None
    watts: float | None
    mj_per_part: float | None


class Heat(Strict):
    """Degrees Celsius per sensor, and MHz of processor and GPU (None if not reported), at one moment."""

    temperatures: dict[str, float]
    cpu_mhz: float | None
    gpu_mhz: float | None


class Surroundings(Strict):
    """The state of the machine during a measurement.

    `throttled` names what reduced the clocks; None if this machine does not report it.
    """

    seconds: float
    load: Load
    memory: Memory
    power: Power
    start: Heat
    end: Heat
    throttled: tuple[str, ...] | None


class Watch:
    """Context manager that samples the machine; call `seen(parts)` after it. `root` holds /proc and /sys."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._board, self._nvml = Board(root / "sys"), find_nvml()
        self._stop = threading.Event()
        self._watts: dict[str, list[float]] = {}
        self._reasons = 0
        self._thread = threading.Thread(target=self._watch, name="ast-edge-watch", daemon=True)

    def __enter__(self) -> Self:
        self._start, self._busy, self._own = self._heat(), self._busy_s(), time.process_time()
        self._counted, self._energy = self._throttle_counts(), self._energy_uj()
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = time.monotonic() - self._began
        self._own = time.process_time() - self._own
        busy = self._busy_s()
        self._busy = None if busy is None or self._busy is None else busy - self._busy
        self._end, self._counts = self._heat(), self._throttle_counts()
        self._energy = _grown(self._energy, self._energy_uj())
        self._stop.set()
        self._thread.join()
        self._look()

    def seen(self, parts: int | None, *, gpu: bool = False) -> Surroundings:
        """Return what was sampled while `parts` parts were judged, by the GPU or by the processor.

        `parts` is None if several models took turns.
        """
        return Surroundings(
            seconds=round(self._seconds, 3),
            load=self._load(),
            memory=memory(self._root, self._nvml),
            power=self._power(parts, gpu=gpu),
            start=self._start,
            end=self._end,
            throttled=self._throttled(),
        )

    def _watch(self) -> None:
        self._look()
        while not self._stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        for reading in self._board.read():
            if reading.kind == "power":
                self._watts.setdefault(reading.sensor, []).append(reading.value)
        for handle in _gpus(self._nvml):
            with contextlib.suppress(Exception):  # a GPU that does not report it
                self._reasons |= _reasons(self._nvml, handle)

    def _busy_s(self) -> float | None:
        """Return the busy seconds of all processors since boot, or None."""
        match = re.match(r"cpu\s+([0-9 ]+)\n", read(self._root / "proc/stat") or "")
        if match is None:
            return None
        ticks = [int(word) for word in match[1].split()]
        if len(ticks) < 8:
            return None
        user, nice, system, _idle, _wait, irq, softirq, steal = ticks[:8]
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    def _load(self) -> Load:
        own = self._own / self._seconds
        other = None if self._busy is None else max(self._busy / self._seconds - own, 0.0)
        cores = os.cpu_count() or 1
        others = None if other is None else round(other, 3)
        return Load(own_cores=round(own, 3), other_cores=others, cores=cores)

    def _heat(self) -> Heat:
        readings = self._board.read()
        cpu = [number(path) for path in self._cpu_folders("cpufreq/scaling_cur_freq")]
        known = [khz for khz in cpu if khz is not None]
        return Heat(
            temperatures={r.sensor: round(r.value, 1) for r in readings if r.kind == "temperature"},
            cpu_mhz=round(sum(known) / len(known) / 1e3, 1) if known else None,
            gpu_mhz=self._gpu_mhz(),
        )

    def _gpu_mhz(self) -> float | None:
        nvml = self._nvml
        if nvml is not None:
            for handle in _gpus(nvml):
                with contextlib.suppress(Exception):
                    return float(nvml.nvmlDeviceGetClockInfo(handle, _SM_CLOCK))
        for folder in sorted((self._root / "sys/class/devfreq").glob("*")):
            if re.search(r"gpu|gv11b|ga10b|gp10b", folder.name):
                hertz = number(folder / "cur_freq")
                return None if hertz is None else round(hertz / 1e6, 1)
        return None

    def _cpu_folders(self, below: str) -> Iterator[Path]:
        yield from sorted((self._root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{below}"))

    def _throttle_counts(self) -> dict[str, float]:
        """Return the kernel's throttling event counters by cause; empty if it has none."""
        counts: dict[str, float] = {}
        for what, pattern in (("core", "core_throttle_count"), ("package", "package_throttle_count")):
            for path in self._cpu_folders(f"thermal_throttle/{pattern}"):
                count = number(path)
                if count is not None:
                    words = f"the processor's heat ({what})"
                    counts[words] = counts.get(words, 0.0) + count
        for path in sorted((self._root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
            count = number(path)
            if count is not None:
                counts[f"the board's overcurrent limit ({path.name.partition('_')[0]})"] = count
        return counts

    def _throttled(self) -> tuple[str, ...] | None:
        gpus = list(_gpus(self._nvml))
        if not self._counts and not gpus:
            return None
        counted = [what for what, count in self._counts.items() if count > self._counted.get(what, count)]
        return (*counted, *(words for bit, words in _THROTTLED.items() if self._reasons & bit))

    def _energy_uj(self) -> dict[str, float]:
        """Return the energy counters of the processor packages (RAPL), in microjoules."""
        found = {}
        for folder in sorted((self._root / "sys/class/powercap").glob("intel-rapl:[0-9]")):
            energy_uj = number(folder / "energy_uj")
            # `psys` and similar zones include the packages again.
            if energy_uj is not None and (read(folder / "name") or "").startswith("package"):
                found[folder.name] = energy_uj
        return found

    def _power(self, parts: int | None, *, gpu: bool) -> Power:
        sensors = {name: sum(values) / len(values) for name, values in self._watts.items()}
        sensors |= {name: energy / 1e6 / self._seconds for name, energy in self._energy.items()}
        of, watts = _whole(sensors, gpu=gpu)
        return Power(
            sensors={name: round(value, 3) for name, value in sensors.items()},
            of=of,
            watts=None if watts is None else round(watts, 3),
            mj_per_part=None if watts is None or not parts else round(1e3 * watts * self._seconds / parts, 3),
        )


def memory(root: Path = ROOT, nvml: WholeNvml | None = None) -> Memory:
    """Return the memory of this process."""
    found = {name: int(kib) * 1024 for name, kib in _MEMORY.findall(read(root / "proc/self/status") or "")}
    peak = found.get("VmHWM", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return Memory(resident=found.get("VmRSS"), peak=peak, gpu=_gpu_memory(nvml))


def _whole(sensors: Mapping[str, float], *, gpu: bool) -> tuple[str | None, float | None]:
    """Return the widest meaningful sum of sensors: what it covers, and watts."""
    for rails in _WHOLE_BOARD:
        if all(rail in sensors for rail in rails):
            return f"the board ({' + '.join(rails)})", sum(sensors[rail] for rail in rails)
    words, prefix = ("the GPU alone", "gpu") if gpu else ("the processor alone", "intel-rapl:")
    chosen = [value for name, value in sensors.items() if name.startswith(prefix)]
    return (words, sum(chosen)) if chosen else (None, None)


def _gpus(nvml: Nvml | None) -> Iterator[object]:
    if nvml is None:
        return
    with contextlib.suppress(Exception):  # its errors are its own classes
        for index in range(nvml.nvmlDeviceGetCount()):
            yield nvml.nvmlDeviceGetHandleByIndex(index)


def _reasons(nvml: Nvml | None, handle: object) -> int:
    """Return why the clocks of a GPU are reduced, as NVML's bits; the call was renamed in R535."""
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
        call = getattr(nvml, name, None)
        if call is not None:
            return int(call(handle))
    return 0


def _gpu_memory(nvml: WholeNvml | None) -> int | None:
    """Return the memory that NVML attributes to this process on all GPUs."""
    if nvml is None:
        return None
    used, found = 0, False
    for handle in _gpus(nvml):
        with contextlib.suppress(Exception):
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if process.pid == os.getpid() and process.usedGpuMemory is not None:
                    used, found = used + int(process.usedGpuMemory), True
    return used if found else None


def _grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the increase of each counter; empty if one wrapped, since the rest would pass for the whole."""
    if any(after.get(name, -1.0) < value for name, value in before.items()):
        return {}
    return {name: after[name] - value for name, value in before.items()}
