"""Wakes a thread that waits for a socket."""

from __future__ import annotations

import os
import threading


class Waker:
    """Ends the wait of another thread; usable from any thread, also after `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = True
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def wake(self) -> None:
        """End the current wait, or the next one."""
        with self._lock:
            if self._open:
                os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Reset, so that waits block again."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close; a second call does nothing."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self.fd)
