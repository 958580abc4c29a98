"""The audit log: who changed what on the line and when, each entry chained to the previous one.

For the format and its verification see `ast_edge.line.audit.chain`.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from ast_edge.backoff import Backoff
from ast_edge.errors import sentence
from ast_edge.line.audit.file import AuditFile
from ast_edge.line.config.options import Options
from ast_edge.line.events import EventKind, Report, ignore
from ast_edge.line.warned import Warnings

# Connection changes are left to the station's log.
AUDITED: frozenset[EventKind] = frozenset(
    {"start", "stop", "recipe", "operator", "archive", "drift", "alarm", "failure", "invariant"}
)
# Limit of entries per minute for every other kind: an error on every part must not fill the disk.
_UNLIMITED = frozenset({"start", "stop", "recipe", "operator"})
_PER_MINUTE = 60
_ROOM = 1000
_BATCH = 50
_MOST_DETAILS = 8192
_MOST_TEXT = 2000
_MISSING_EVERY_S = 10.0


class AuditOptions(Options):
    """The log of changes, each entry sealed by the next.

    `file`: its path. `rotate_mb`: a file of so many MB (10^6 bytes) is full, and a new one is started.
    """

    file: Path
    rotate_mb: Annotated[float, Field(ge=0.001, le=10_000)] = 10.0


@dataclass(frozen=True, kw_only=True)
class AuditStatus:
    """Entries written, waiting, and lost since the start; the digest of the last one written."""

    written: int
    waiting: int
    missing: int
    head: str
    last_error: str


class _Waiting(NamedTuple):
    wall_s: float
    kind: str
    details: str


class AuditLog:
    """Writes audited events in its own thread; each batch is synced to disk before the next.

    `tell` never blocks and never raises. While the disk refuses, up to 1000 entries wait; entries beyond that
    are counted, and an entry `missing` records them once there is room. An entry truncated by a kill is moved
    to a file beside the log, and an entry `torn` records that.
    """

    report: Report = staticmethod(ignore)

    def __init__(self, options: AuditOptions, run: str) -> None:
        self._run = plain_text(run)
        self._file = AuditFile(options.file, int(options.rotate_mb * 1e6), self._run)
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._waiting: deque[_Waiting] = deque()
        self._missing: Counter[str] = Counter()
        self._missing_since = self._missing_until = 0.0
        self._missing_reported_at = -math.inf
        self._minutes: dict[str, tuple[float, int]] = {}
        self._end: float | None = None
        self._written = self._lost = 0
        self._last_error = ""
        self._backoff = Backoff(0.2, 5.0)
        self._warnings = Warnings("archive", {"archive": "audit"}, lambda: self.report)
        self._thread = threading.Thread(target=self._work, name="ast-edge-audit", daemon=True)

    def start(self) -> None:
        """Start writing; earlier events are already queued."""
        self._thread.start()

    def tell(self, kind: EventKind, details: Mapping[str, object]) -> None:
        """Log one event if its kind is in `AUDITED`; `details` are plain values without secrets."""
        if kind not in AUDITED:
            return
        entry = _Waiting(time.time(), kind, details_text(details))
        with self._lock:
            room = self._end is None and len(self._waiting) < _ROOM
            if room and self._within_limit(kind):
                self._waiting.append(entry)
                self._news.notify_all()
                return
            self._lost += 1
            if not self._missing:
                self._missing_since = entry.wall_s
            self._missing_until = entry.wall_s
            self._missing[kind] += 1

    def flush(self, timeout_s: float) -> bool:
        """Wait until every reported event is on disk; return whether it is."""
        with self._lock:
            return self._news.wait_for(lambda: not self._waiting, timeout_s)

    @property
    def status(self) -> AuditStatus:
        """Return the status; from any thread."""
        with self._lock:
            return AuditStatus(
                written=self._written,
                waiting=len(self._waiting),
                missing=self._lost,
                head=self._file.head,
                last_error=self._last_error,
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Current problems, a sentence each."""
        return tuple(f"audit log: {sentence}" for sentence in self._warnings.now)

    def close(self, timeout_s: float) -> None:
        """Write waiting entries within the timeout; a second call does nothing."""
        with self._lock:
            if self._end is None:
                self._end = time.monotonic() + timeout_s
            self._news.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s + 1.0)
        with self._lock:
            self._lost += len(self._waiting)
            self._waiting.clear()

    def _within_limit(self, kind: str) -> bool:
        if kind in _UNLIMITED:
            return True
        now = time.monotonic()
        began, count = self._minutes.get(kind, (-math.inf, 0))
        if now - began >= 60:
            began, count = now, 0
        self._minutes[kind] = (began, count + 1)
        return count < _PER_MINUTE

    # ---- the thread ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            batch = self._next()
            if not batch and self._end is not None:
                break
            if batch and not self._tried(batch):
                if self._end is not None and time.monotonic() >= self._end:
                    break
                self._pause(self._backoff.next_s())
        self._file.close()

    def _next(self) -> list[_Waiting]:
        """Return the entries to write next; they stay in the queue until written."""
        with self._lock:
            if not self._waiting and self._end is None:
                self._news.wait(1.0)
            batch = [self._waiting[i] for i in range(min(len(self._waiting), _BATCH))]
            due = self._end is not None or time.monotonic() >= self._missing_reported_at + _MISSING_EVERY_S
            if self._missing and due and len(batch) == len(self._waiting):
                batch.append(self._missing_entry())
            return batch

    def _missing_entry(self) -> _Waiting:
        details = {
            "count": sum(self._missing.values()),
            "kinds": dict(self._missing),
            "since_s": round(self._missing_since, 3),
            "until_s": round(self._missing_until, 3),
        }
        return _Waiting(time.time(), "missing", json.dumps(details, separators=(",", ":")))

    def _tried(self, batch: list[_Waiting]) -> bool:
        try:
            self._file.append([(one.wall_s, self._run, one.kind, one.details) for one in batch])
        except Exception as exc:  # noqa: BLE001 (whatever it is, the line goes on and so does the thread)
            self._last_error = sentence(exc)
            self._warnings.begin("audit", f"the audit log cannot be written: {self._last_error}")
            return False
        with self._lock:
            self._settle(batch)
            self._news.notify_all()
        self._backoff.reset()
        self._warnings.end("audit")
        return True

    def _settle(self, batch: list[_Waiting]) -> None:
        for one in batch:
            if one.kind == "missing":
                self._missing -= Counter(json.loads(one.details)["kinds"])
                self._missing_since = self._missing_until
                self._missing_reported_at = time.monotonic()
            else:
                self._waiting.popleft()
                self._written += 1

    def _pause(self, seconds: float) -> None:
        with self._lock:
            left = seconds if self._end is None else min(seconds, 0.05)
            self._news.wait_for(lambda: self._end is not None, left)


def plain_text(text: object) -> str:
    """Convert to text of bounded length without lone surrogates."""
    return str(text)[:_MOST_TEXT].encode("utf-8", "replace").decode()


def details_text(details: Mapping[str, object]) -> str:
    """Convert to a JSON object in ASCII of at most 8192 characters, whatever it contains."""
    try:
        text = json.dumps(_plain(details, 8), separators=(",", ":"), allow_nan=False)
    except Exception as exc:  # noqa: BLE001 (a foreign object whose text cannot be shown)
        return json.dumps({"unfit": type(exc).__name__})
    return text if len(text) <= _MOST_DETAILS else json.dumps({"cut": text[: _MOST_DETAILS // 2]})


def _plain(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | str):
        return plain_text(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth and isinstance(value, Mapping):
        return {plain_text(key): _plain(inner, depth - 1) for key, inner in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, depth - 1) for inner in value]
    return plain_text(value)
