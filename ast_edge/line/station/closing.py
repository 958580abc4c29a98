"""The end of a station: everything is closed at once, so that what hangs delays nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


def close_all(
    closers: Sequence[tuple[str, Callable[[], None]]],
    within_s: float,
    note: Callable[[str, Exception], None],
) -> None:
    """Call every closer on a thread of its own, and wait for all of them together for `within_s` at most.

    `note` hears which one raised, or took longer and is left to the end of the process.
    """

    def closed(name: str, close: Callable[[], None]) -> None:
        try:
            close()
        except Exception as exc:  # noqa: BLE001 (the rest must still be closed)
            note(f"closing {name}", exc)

    threads = [
        (
            name,
            threading.Thread(target=closed, args=(name, close), name=f"ast-edge-close-{name}", daemon=True),
        )
        for name, close in closers
    ]
    for _, thread in threads:
        thread.start()
    end = time.monotonic() + within_s
    for name, thread in threads:
        thread.join(max(end - time.monotonic(), 0.0))
        if thread.is_alive():
            note(f"closing {name}", TimeoutError(f"not closed within {within_s:g} s"))
