"""The output of a station that collects: hands pictures to a thread that writes them, and counts the rest."""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from typing_extensions import override

from ast_edge.cameras.base import Frame
from ast_edge.errors import LineError, sentence
from ast_edge.line.collect.doubts import Doubts
from ast_edge.line.collect.parts import Parts
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView

_QUEUE_BYTES = 256_000_000
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class CameraView:
    """The camera of the line: its name, and its settings as it reports them."""

    uri: str
    settings: Callable[[], Mapping[str, float | str]]


class Collector(Output):
    """Writes each part with a picture, until there are `wanted` new ones; None: without end.

    Parts without a picture are `missed`: how many for each reason. A picture that finds no room, because the
    disk is slower than the parts, is missed, too. `error` is what ended the writing. Sentences for the user
    gather in `news`.
    """

    name = "collect"

    def __init__(self, parts: Parts, camera: CameraView, wanted: int | None) -> None:
        self._parts, self._camera, self._wanted = parts, camera, wanted
        self.doubts = Doubts()
        for part in parts.present:
            self.doubts.add_earlier(part)
        self.news: deque[str] = deque()
        self.missed: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self.written = 0
        self.error: LineError | None = None
        self._queue: deque[PartResult] = deque()
        self._bytes = self._accepted = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="ast-edge-collect", daemon=True)

    @override
    def start(self, station: StationView) -> None:
        self._thread.start()

    @override
    def put(self, result: PartResult) -> None:
        with self._changed:
            if self._full or self._closing or self.error is not None:
                return
            frame = result.frame
            if result.verdict != "pass" or frame is None:
                self._miss(result, result.reason)
            elif self._queue and self._bytes + _size(frame) > _QUEUE_BYTES:
                self._miss(result, "the disk is slower than the parts")
            else:
                self._accepted += 1
                self._bytes += _size(frame)
                self._queue.append(result)
                self._changed.notify_all()

    @property
    @override
    def status(self) -> OutputStatus:
        error = "" if self.error is None else str(self.error)
        return OutputStatus(
            connected=self.error is None,
            delivered=self.written,
            undelivered=self.missed.total(),
            queued=len(self._queue),
            last_error=error,
        )

    @override
    def close(self, timeout_s: float) -> None:
        """Take no more parts. The last ones are written by `finish`, however long that takes."""
        self.release()

    def release(self) -> None:
        """Take no more parts, and let nobody wait for room."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Return when the next picture can be written almost at once, or none is wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._queue) < 2 or self._closing or self.error is not None)

    def finish(self) -> None:
        """Write the pictures that wait, and end the thread."""
        self.release()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def done(self) -> bool:
        """Whether all wanted parts are on the disk, or no more can be written."""
        return self.error is not None or (self._wanted is not None and self.written >= self._wanted)

    @property
    def _full(self) -> bool:
        return self._wanted is not None and self._accepted >= self._wanted

    def _miss(self, result: PartResult, why: str) -> None:
        kind = _NUMBER.sub("", why)  # the same reason with other milliseconds is the same
        if kind not in self._reasons:
            self._reasons[kind] = why
            self.news.append(
                f"no picture of a part (trigger {result.number}, {result.trigger.source}): {why}"
            )
        self.missed[self._reasons[kind]] += 1

    # ---- the writing thread --------------------------------------------------------------------------------

    def _work(self) -> None:
        while (result := self._next()) is not None:
            try:
                part, looks = self._parts.add(result, self._camera.uri, dict(self._camera.settings()))
            except Exception as exc:  # noqa: BLE001 (whatever it is, it ends the collection with its words)
                self._end(exc)
                return
            self.news.extend(self.doubts.add(part, looks))
            self.written += 1

    def _next(self) -> PartResult | None:
        """Return the next part; None when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return None
            result = self._queue.popleft()
            if result.frame is not None:
                self._bytes -= _size(result.frame)
            self._changed.notify_all()
            return result

    def _end(self, exc: Exception) -> None:
        error = exc if isinstance(exc, LineError) else LineError(f"a part cannot be stored: {sentence(exc)}")
        with self._changed:
            self.error = error
            self._queue.clear()
            self._changed.notify_all()


def _size(frame: Frame) -> int:
    return sum(array.nbytes for array in (frame.pixels, frame.depth_m) if array is not None)
