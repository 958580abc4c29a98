"""Closes everything at once at the end, so that one hang does not delay the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


def close_all(
    closers: Sequence[tuple[str, Callable[[], None]]],
    within_s: float,
    note: Callable[[str, Exception], None],
) -> None:
    """Call every closer in its own thread, and wait for all of them for at most `within_s` in total.

    `note` is called for a closer that raised, or that took longer and is abandoned until the process ends.
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
