"""The station's log: a line for every part and every event, as text or JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from queue import Empty, Full, Queue
from typing import Literal, TextIO

from typing_extensions import override

from ast_edge.line.config.options import Options
from ast_edge.line.events import Event, EventKind
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView

_ROOM = 10_000
_END_S = 1.0
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Priority prefixes read by systemd's journal, see sd-daemon(3).
_PRIORITIES = {10: "<7>", 20: "<6>", 30: "<4>", 40: "<3>"}
_EVENT_LEVELS: dict[EventKind, int] = {
    "drift": 30,
    "alarm": 40,
    "archive": 30,
    "camera": 30,
    "output": 30,
    "trigger": 30,
    "failure": 40,
    "invariant": 40,
}
# A repeated fault is logged the 1st, 2nd, 4th, 8th time and so on, and once per this interval.
_REPORT_AGAIN_S = 60.0
_MOST_KEYS, _MOST_KEY = 64, 200
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class LogOptions(Options):
    """`level`: records below it are skipped; `format`: text for people, json for machines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class LineLog(Output):
    """Writes to `stream` (stderr) from its own thread; records without room are dropped and counted.

    A pass is logged at level info, a reject or fault as a warning. Repeated faults with the same reason,
    without a judged part in between, are thinned out, as are failures: a later line reports how many were
    suppressed.
    """

    name = "log"

    def __init__(self, options: LogOptions, stream: TextIO | None = None) -> None:
        self._queue: Queue[logging.LogRecord | None] = Queue(_ROOM)
        formatter = _Json() if options.format == "json" else _Text()
        self._sink = _Sink(sys.stderr if stream is None else stream, formatter)
        self._level = _LEVELS[options.level]
        self._faults, self._failures = _Thinning(), _Thinning()
        self._parts = self._dropped = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ast-edge-log", daemon=True)
        self._thread.start()

    def start(self, station: StationView) -> None:
        """Do nothing: the log is open from the start."""

    @override
    def put(self, result: PartResult) -> None:
        self._parts += 1
        level = 20 if result.verdict == "pass" else 30
        left_out: int | None = 0
        if result.verdict == "fault":
            left_out = self._faults.left_out(result.reason)
        elif silent := self._faults.well():
            self._write(30, f"{silent} more faults up to here were not logged", {"not_logged": silent})
        if left_out is None or level < self._level:
            return
        facts = result.as_dict()
        facts.pop("stages_ms")
        more = {"not_logged": left_out} if left_out else {}
        score = "" if facts["score"] is None else f" score {result.score:.6g} of {result.threshold:.6g}"
        reason = f": {result.reason}" if result.reason else ""
        message = (
            f"{result.part_id} {result.verdict}{score} {result.latency_ms:.1f} ms{reason}{_also(left_out)}"
        )
        self._write(level, message, {**facts, **more})

    def event(self, event: Event) -> None:
        """Log an event; a listener of the events' hub."""
        # The end of a problem is worth a line, but not a warning.
        about = event.details
        well = about.get("connected") is True or about.get("state") in ("live", "closed")
        well = well or about.get("change") == "end"
        level = 20 if well else _EVENT_LEVELS.get(event.kind, 20)
        words = " ".join(f"{key}={value}" for key, value in event.details.items())
        left_out = self._failures.left_out(words) if event.kind == "failure" else 0
        if left_out is None:
            return
        more = {"not_logged": left_out} if left_out else {}
        self._write(
            level, f"{event.kind} {words}{_also(left_out)}", {"event": event.kind, **event.details, **more}
        )

    @property
    @override
    def status(self) -> OutputStatus:
        return OutputStatus(
            connected=not self._closed,
            delivered=self._parts,
            undelivered=self._dropped,
            queued=self._queue.qsize(),
        )

    def close(self, timeout_s: float) -> None:
        """Log no more parts; events are logged until `end`."""

    def end(self) -> None:
        """Write what waits, for at most a second, and stop; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        while True:
            try:
                self._queue.put_nowait(None)
                break
            except Full:
                with contextlib.suppress(Empty):
                    self._queue.get_nowait()
                    self._dropped += 1
        self._thread.join(_END_S)

    def _write(self, level: int, message: str, facts: Mapping[str, object]) -> None:
        if self._closed or level < self._level:
            return
        record = logging.LogRecord("ast-edge", level, "", 0, _printable(message), None, None)
        record.facts = dict(facts)
        try:
            self._queue.put_nowait(record)
        except Full:
            self._dropped += 1

    def _run(self) -> None:
        while (record := self._queue.get()) is not None:
            self._sink.write(record)


class _Sink:
    """Writes lines to a stream, through its file descriptor if it has one.

    A reader that stalls blocks the writing thread and nothing else: Python's own stream would hold its lock
    meanwhile, for which every other writer and the end of the process wait. An unwritable stream does not
    stop the station, and cannot be reported anywhere.
    """

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        self._stream, self._formatter = stream, formatter
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, ValueError):
            self._descriptor = None

    def write(self, record: logging.LogRecord) -> None:
        """Write one line; errors are ignored."""
        with contextlib.suppress(Exception):
            line = f"{self._formatter.format(record)}\n"
            if self._descriptor is None:
                self._stream.write(line)
                return
            data = memoryview(line.encode("utf-8", "backslashreplace"))
            while data:
                data = data[os.write(self._descriptor, data) :]


class _Thinning:
    """Decides which repeated messages are logged; messages that differ only in numbers are equal."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def left_out(self, message: str) -> int | None:
        """Return None to suppress this message; else how many like it were suppressed since the last one."""
        now, key = time.monotonic(), _NUMBER.sub("#", message[:_MOST_KEY])
        seen = self._seen.get(key)
        if seen is None or now - seen.last_s > _REPORT_AGAIN_S:
            if len(self._seen) >= _MOST_KEYS:
                self._seen.clear()
            left_out = 0 if seen is None else seen.suppressed
            self._seen[key] = _Seen(1, 0, now, now)
            return left_out
        seen.count += 1
        seen.last_s = now
        if seen.count & (seen.count - 1) and now - seen.reported_s < _REPORT_AGAIN_S:
            seen.suppressed += 1
            return None
        seen.reported_s = now
        left_out, seen.suppressed = seen.suppressed, 0
        return left_out

    def well(self) -> int:
        """Reset after recovery, so that the next message is logged; return how many were suppressed."""
        silent = sum(seen.suppressed for seen in self._seen.values())
        self._seen.clear()
        return silent


@dataclass
class _Seen:
    """Counts of a message, and of its recent suppressions; the times it was last logged and last occurred."""

    count: int
    suppressed: int
    reported_s: float
    last_s: float


class _Text(logging.Formatter):
    """`time LEVEL message`; under systemd the journal adds the time and gets the level as a prefix."""

    def __init__(self) -> None:
        super().__init__()
        self._journal = bool(os.environ.get("JOURNAL_STREAM"))

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        message = record.getMessage()
        if self._journal:
            return f"{_PRIORITIES.get(record.levelno, '<6>')}{message}"
        return f"{_time(record)} {record.levelname:<7} {message}"


class _Json(logging.Formatter):
    """One object per line: time (UTC), level, message, and details."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        own = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        facts: Mapping[str, object] = getattr(record, "facts", {})
        content = {key: value for key, value in facts.items() if key not in own}
        return json.dumps({**own, **content}, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


def _also(left_out: int) -> str:
    return f" ({left_out} more of these were not logged)" if left_out else ""


def _printable(text: str) -> str:
    """Escape line ends and other control characters, so that outside text cannot forge log lines."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
