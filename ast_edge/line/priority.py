"""Work that nobody waits for steps back behind work that a part waits for."""

from __future__ import annotations

import contextlib
import os
import threading

_NICE = 10


def step_back() -> None:
    """This thread gets the processor when no other wants it, where the system lets it say so."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
