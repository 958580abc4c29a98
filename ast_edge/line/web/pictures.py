"""The few pictures on the page, made by a separate thread in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

from ast_edge.errors import sentence
from ast_edge.line.events import Report, ignore
from ast_edge.line.part import PartResult
from ast_edge.line.priority import step_back
from ast_edge.line.web.preview import previews

KEPT_BAD = 12
_KEPT_PASSED = 4
_WATCHED_S = 5.0
_PAUSE_S = 0.5
_POLL_S = 1.0
_ENCODE_S = 2.0


class Pictures:
    """Previews of the last rejects and faults, and of the newest part while a page is open.

    `offer` takes a reference to at most three frames, which wait to be encoded; further frames are skipped.
    At most two parts per second are encoded, on a thread with low priority.
    """

    report: Report = staticmethod(ignore)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bad: deque[PartResult] = deque(maxlen=2)
        self._newest: PartResult | None = None
        self._kept: dict[bool, OrderedDict[str, dict[str, bytes]]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }
        self._asked = -_WATCHED_S
        self._some = threading.Event()
        self._closing = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="ast-edge-web-pictures", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End the thread; a second call does nothing.

        Waits for a picture in progress: a process that ends while OpenCV works is aborted.
        """
        self._closing.set()
        self._some.set()
        if self._thread.ident is not None:
            self._thread.join(max(timeout_s, _ENCODE_S))

    def watched(self) -> None:
        """A page is open: show passed parts too for the next five seconds."""
        self._asked = time.monotonic()

    def offer(self, result: PartResult) -> None:
        """Offer a judged part; returns at once."""
        if result.frame is None:
            return
        with self._lock:
            if result.verdict != "pass":
                self._bad.append(result)
            elif time.monotonic() - self._asked < _WATCHED_S:
                self._newest = result
            else:
                return
        self._some.set()

    def has(self, part_id: str) -> bool:
        """Whether there are pictures of this part."""
        with self._lock:
            return any(part_id in kept for kept in self._kept.values())

    def newest_passed(self) -> str | None:
        """Return the id of the newest passed part with pictures."""
        with self._lock:
            return next(reversed(self._kept[False]), None)

    def get(self, part_id: str, kind: str) -> bytes | None:
        """Return a JPEG file of the part: `heat`, `plain` or `small`; None if it does not exist."""
        with self._lock:
            for kept in self._kept.values():
                if part_id in kept:
                    return kept[part_id].get(kind)
        return None

    def _run(self) -> None:
        step_back()
        while not self._closing.is_set():
            if not self._some.wait(_POLL_S):
                continue
            self._some.clear()
            while (result := self._take()) is not None and not self._closing.is_set():
                self._encode(result)
                del result  # do not hold a frame while idle
                self._closing.wait(_PAUSE_S)

    def _take(self) -> PartResult | None:
        with self._lock:
            if self._bad:
                return self._bad.popleft()
            result, self._newest = self._newest, None
            return result

    def _encode(self, result: PartResult) -> None:
        try:
            found = previews(result)
        except Exception as exc:  # noqa: BLE001 (a picture that cannot be shown harms nothing; reported once)
            if not self._failed:
                self._failed = True
                self.report("failure", {"where": "web", "error": f"picture: {sentence(exc)}"})
            return
        if not found:
            return
        bad = result.verdict != "pass"
        with self._lock:
            kept = self._kept[bad]
            kept[result.part_id] = found
            while len(kept) > (KEPT_BAD if bad else _KEPT_PASSED):
                kept.popitem(last=False)
