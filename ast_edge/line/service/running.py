"""The process around a station: signals, systemd, and interpreter settings for low latency."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ast_edge.line.service import systemd
from ast_edge.line.service.config import LineConfig
from ast_edge.line.service.service import Service
from ast_edge.line.status import Balance

_LOOK_S = 0.1
# How long a thread may keep the interpreter while another waits; Python's default of 5 ms is a whole budget.
_SWITCH_S = 0.0005
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_until_stopped(config: LineConfig, parts: int | None = None) -> Balance:
    """Run the line until a signal, the end of the camera's frames, or `parts` verdicts; return the balance.

    Raises the errors of opening the recipe. An absent camera or counterpart is waited for. While something
    hangs for good, systemd's watchdog is not triggered, so that the service is restarted.
    """
    stop = threading.Event()
    with stopping_signals(stop), punctual():
        service = Service(config)
        service.start()
        systemd.notify("READY=1")
        try:
            _watch(service, stop, parts)
        finally:
            systemd.notify("STOPPING=1")
            balance = service.stop()
    return balance


def _watch(service: Service, stop: threading.Event, parts: int | None) -> None:
    look_s = min(_LOOK_S, systemd.watchdog_interval_s() or _LOOK_S)
    while not stop.wait(look_s):
        balance = service.station.balance()
        if service.station.ended or (parts is not None and balance.given >= parts):
            return
        if service.hung() is None:
            systemd.notify(f"WATCHDOG=1\nSTATUS={service.station.status().as_sentence()}")


@contextmanager
def stopping_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP set `stop`; previous handlers are restored.

    A signal ignored from the start, as SIGHUP is under `nohup`, stays ignored.
    """

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, asked) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def punctual() -> Iterator[None]:
    """Short turns between threads, and objects loaded so far are exempt from garbage collection."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
