"""Lowers the priority of background work below that of inspection."""

from __future__ import annotations

import contextlib
import os
import threading

_NICE = 10


def step_back() -> None:
    """Give this thread the processor only when no other wants it, if the system supports that."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
