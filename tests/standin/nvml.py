"""NVML of a machine with one busy card."""

from __future__ import annotations

import os


class Card:
    """NVML as far as it is asked; reasons as NVIDIA's header numbers them."""

    class Process:
        """This process."""

        pid, usedGpuMemory = os.getpid(), 300_000_000  # noqa: N815 (NVML's own name)

    class Other:
        """Another program's."""

        pid, usedGpuMemory = 1, 5_000_000_000  # noqa: N815

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:
        return index

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:
        return 250_000

    def nvmlDeviceGetClockInfo(self, handle: object, kind: int) -> int:
        return 1980 if kind == 1 else 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int:
        return 0x01 | 0x04

    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[object]:
        return [self.Process(), self.Other()]
