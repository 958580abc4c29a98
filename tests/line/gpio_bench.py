"""GPIO chips to test on: the kernel's simulator (gpio-sim) where there is one, else the stand-in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.waiting import wait_for

NAMES = ("SENSOR", "ENCODER", "REJECT", "OK", "FAULT", "READY", "ALIVE", "SPARE")
SENSOR, ENCODER, REJECT, OK, FAULT, READY, ALIVE, SPARE = range(8)
_CONFIG = Path("/sys/kernel/config/gpio-sim")


class Bench(Protocol):
    """A chip with the lines of `NAMES`."""

    path: str

    def pull(self, offset: int, *, high: bool) -> None:
        """What is wired to an input sets its level."""

    def level(self, offset: int) -> bool:
        """The level on the wire."""

    def unplug(self) -> None:
        """Remove the chip, also while it is in use."""

    def plug(self) -> None:
        """It comes back at the same path."""


class SimulatedChip:
    """gpio-sim, by configfs (Documentation/admin-guide/gpio/gpio-sim.rst). Needs root and the module."""

    def __init__(self) -> None:
        self.path = f"/dev/ast-edge-gpio-{os.getpid()}"
        self._folder = _CONFIG / f"ast-edge-{os.getpid()}"
        bank = self._folder / "bank"
        bank.mkdir(parents=True)
        (bank / "num_lines").write_text(str(len(NAMES)))
        for offset, name in enumerate(NAMES):
            (bank / f"line{offset}").mkdir()
            (bank / f"line{offset}" / "name").write_text(name)
        self.plug()

    def plug(self) -> None:
        (self._folder / "live").write_text("1")
        chip = (self._folder / "bank" / "chip_name").read_text().strip()
        device = (self._folder / "dev_name").read_text().strip()
        self._lines = Path("/sys/devices/platform") / device / chip
        # Another number every time, so that a link stands for what udev does.
        wait_for((Path("/dev") / chip).exists)
        Path(self.path).symlink_to(chip)

    def unplug(self) -> None:
        Path(self.path).unlink(missing_ok=True)
        (self._folder / "live").write_text("0")

    def pull(self, offset: int, *, high: bool) -> None:
        (self._lines / f"sim_gpio{offset}" / "pull").write_text("pull-up" if high else "pull-down")
        # Edges that come while the kernel's thread handles the one before are one to it.
        time.sleep(0.002)

    def level(self, offset: int) -> bool:
        return (self._lines / f"sim_gpio{offset}" / "value").read_text().strip() == "1"

    def remove(self) -> None:
        self.unplug()
        for offset in range(len(NAMES)):
            (self._folder / "bank" / f"line{offset}").rmdir()
        (self._folder / "bank").rmdir()
        self._folder.rmdir()


@contextmanager
def bench(kind: str) -> Iterator[Bench]:
    """A chip of this kind; skips where the kernel has no simulator."""
    gpiod = pytest.importorskip("gpiod", reason='gpiod is not installed (pip install ".[line]")')
    if kind == "gpio-sim":
        if not _CONFIG.is_dir():
            pytest.skip("this kernel has no gpio-sim: as root, modprobe gpio-sim and mount configfs")
        chip = SimulatedChip()
        try:
            yield chip
        finally:
            chip.remove()
        return
    from tests.standin.gpio import StandInChip, request_lines_of  # noqa: PLC0415 (needs gpiod)

    stand_in = StandInChip("/dev/gpiochip-stand-in", NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpiod, "request_lines", request_lines_of({stand_in.path: stand_in}))
        yield stand_in


def pulse(chip: Bench, offset: int, times: int = 1) -> None:
    """On and off again, so many times."""
    for _ in range(times):
        chip.pull(offset, high=True)
        chip.pull(offset, high=False)


class Scope:
    """Looks at a line all the time: when it went on and off, in nanoseconds of the monotonic clock."""

    def __init__(self, chip: Bench, offset: int) -> None:
        self._chip, self._offset = chip, offset
        self.pulses: list[list[int]] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        before = self._chip.level(self._offset)
        while not self._ending.wait(0.0005):
            now = self._chip.level(self._offset)
            if now and not before:
                self.pulses.append([time.monotonic_ns()])
            if before and not now and self.pulses:
                self.pulses[-1].append(time.monotonic_ns())
            before = now

    def ended(self, count: int) -> bool:
        """Whether so many pulses are over."""
        return sum(len(pulse) == 2 for pulse in self.pulses) >= count

    def __enter__(self) -> Scope:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
