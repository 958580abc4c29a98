"""Results to a web server: an HTTP POST per part, retried until accepted, from a spool on disk."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from ast_edge.backoff import Backoff
from ast_edge.errors import LineError, sentence
from ast_edge.line.config.options import Name, Options, Seconds, Secret
from ast_edge.line.links.http import Limit, Poster
from ast_edge.line.links.reconnecting import Reconnecting
from ast_edge.line.links.tls import TlsOptions
from ast_edge.line.outputs.base import Output, OutputStatus
from ast_edge.line.outputs.spool import Entry, Spool
from ast_edge.line.part import PartResult
from ast_edge.line.status import StationView
from ast_edge.line.warned import Warnings
from ast_edge.verdict.scoring import Verdict

_ROOM = 1000
# Codes of 4xx that concern this one part; other parts may be accepted.
_CONTENT = (400, 413, 415, 422)
# Advice by the first code that is not above the answer's.
_HINTS = (
    (500, "see the server's log"),
    (429, "it is overloaded"),
    (404, "check path and method of the url"),
    (401, "check the token"),
    (400, "see the server's log"),
    (300, "it points elsewhere and is not followed: give that address as url"),
)
_LOOK_S = 60.0  # how often entries are checked for their age
_FIRST_S = 0.5


class WebhookOptions(Options):
    """An HTTP POST per part to `url` (http or https) with the part's JSON as body.

    `verdicts`: of which parts. `token`: sent as bearer token. `tls`: trusted authorities, for https.
    `timeout_s`: time limit of a request. `retry_s`: the longest delay before a retry, both in seconds.
    `spool`: a folder for this output alone, in which parts wait: at most `spool_entries`, using at most
    `spool_bytes` of the disk; beyond that the oldest is dropped and counted, as is one that the server has
    not accepted for `keep_days` days of one run (measured without the system's clock, which may be wrong).
    """

    kind: Literal["webhook"]
    name: Name = "webhook"
    url: Annotated[str, Field(max_length=2000, pattern=r"^https?://[!-~]+$")]
    verdicts: Annotated[tuple[Verdict, ...], Field(min_length=1)] = ("reject", "fault")
    token: Secret | None = None
    tls: TlsOptions | None = None
    timeout_s: Annotated[Seconds, Field(le=120)] = 10.0
    retry_s: Seconds = 60.0
    spool: Path
    spool_entries: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    spool_bytes: Annotated[int, Field(ge=4096)] = 64 * 1024 * 1024
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:
            raise ValueError("there is no host, or no usable port")
        if parts.username is not None or parts.password is not None:
            raise ValueError("credentials do not belong into a URL; use token")
        if parts.fragment:
            raise ValueError("a fragment is never sent")
        return url

    @model_validator(mode="after")
    def _encrypted(self) -> WebhookOptions:
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("tls is given, but the url is not https")
        return self


class WebhookOutput(Reconnecting, Output):
    """A part is delivered when the server has answered with 2xx.

    Any other answer, including redirects, and a missing answer are retried after growing delays, and later
    parts wait, in order: nothing is lost because of an expired token or a changed path. Meanwhile the output
    counts as disconnected and a warning gives the reason. After an answer about the part itself (400, 413,
    415, 422) the others are sent first. A part may arrive twice (after a lost answer, or a kill -9 before it
    was recorded): the header `Idempotency-Key` is its part_id every time. Entries left in the spool when the
    station ends are sent after the next start.
    """

    def __init__(self, options: WebhookOptions) -> None:
        """Raises LineError for an unreadable token or certificate."""
        backoff = Backoff(min(_FIRST_S, options.retry_s), options.retry_s)
        super().__init__("output", options.name, f"ast-edge-{options.name}-post", backoff)
        self._options = options
        what = f"output {options.name}"
        tls = options.tls or TlsOptions()
        self._poster = Poster(options.url, tls.context(what) if options.url.startswith("https:") else None)
        self._headers = {"Content-Type": "application/json", "User-Agent": "ast-edge"}
        if options.token is not None:
            self._headers["Authorization"] = f"Bearer {_token(options.token, what)}"
        self._spool = Spool(options.spool, options.spool_entries, options.spool_bytes)
        self._queue: deque[PartResult] = deque()
        self._news = threading.Condition()
        self._end: float | None = None
        self._spooled = False  # nothing more is added to the spool
        self._delivered = self._undelivered = 0
        self._spool_error = ""
        self._warnings = Warnings("output", {"output": options.name}, lambda: self.report)
        self._expired_at = 0.0
        keeper = threading.Thread(target=self._keep, name=f"ast-edge-{self.name}-spool", daemon=True)
        self._threads = (keeper, self._thread)

    # ---- Output --------------------------------------------------------------------------------------------

    @override
    def start(self, station: StationView) -> None:
        for thread in self._threads:
            thread.start()

    def put(self, result: PartResult) -> None:
        """Queue a result; parts with other verdicts are not for this output and not counted."""
        if result.verdict not in self._options.verdicts:
            return
        with self._news:
            if self._end is not None:
                self._undelivered += 1
                return
            if len(self._queue) >= _ROOM:
                self._queue.popleft()
                self._undelivered += 1
            self._queue.append(result.without_pictures())
            self._news.notify_all()

    @property
    def status(self) -> OutputStatus:
        """Return the status; queued includes the spool, undelivered what the spool dropped."""
        counts = self._spool.counts
        with self._news:
            return OutputStatus(
                connected=self._connected,
                delivered=self._delivered,
                undelivered=self._undelivered + counts.dropped + counts.damaged,
                queued=len(self._queue) + counts.waiting,
                last_error="; ".join(error for error in (self._last_error, counts.error) if error),
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about parts that the server refuses, parts that were dropped as too old, and the spool."""
        error = self._spool.counts.error
        found = (*self._warnings.now, *((error,) if error else ()))
        return tuple(f"{self.name}: {sentence}" for sentence in found)

    @property
    def spool(self) -> Spool:
        """The spool of waiting parts."""
        return self._spool

    def close(self, timeout_s: float) -> None:
        """Close the output; entries in the spool stay there for the next start."""
        with self._news:
            if self._end is None:
                self._end = time.monotonic() + timeout_s
            self._news.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(self._end - time.monotonic(), 0.0) + self._options.timeout_s + 1.0)
        with self._news:
            self._undelivered += len(self._queue)
            self._queue.clear()
        lost = self._spool.close()
        with self._news:
            self._undelivered += lost

    # ---- the thread that fills the spool -------------------------------------------------------------------

    def _keep(self) -> None:
        self._spool.open()
        self._tell_spool()
        while True:
            with self._news:
                self._news.notify_all()
                while not self._queue and self._end is None:
                    self._news.wait()
                if not self._queue:
                    self._spooled = True
                    self._news.notify_all()
                    return
                result = self._queue[0]
            self._keep_one(result)

    def _keep_one(self, result: PartResult) -> None:
        """Move a result from the queue into the spool; it is always in one of them, briefly in both."""
        lost = 0
        try:
            self._spool.add(result.part_id, result.as_json().encode())
        except Exception as exc:  # noqa: BLE001 (one part that cannot be kept must not stop the others)
            lost, self._last_error = 1, sentence(exc)
        with self._news:
            self._undelivered += lost
            if self._queue and self._queue[0] is result:
                self._queue.popleft()
            else:
                self._undelivered -= 1  # the queue overflowed meanwhile, but this one is safe
        self._tell_spool()

    def _tell_spool(self) -> None:
        error = self._spool.counts.error
        if error != self._spool_error:
            self._spool_error = error
            self.report("output", {"output": self.name, "spool": error or "in use"})

    # ---- the thread that sends -----------------------------------------------------------------------------

    def _connect(self) -> None:
        """Check whether the server can be reached, unless a waiting entry will show it."""
        if not self._spool.counts.waiting:
            self._poster.probe(self._limit())
            self._well()

    def _serve(self) -> None:
        """Send the oldest entry, or wait until there is one."""
        while not self._over():
            self._expire()
            counts = self._spool.counts
            if counts.waiting == counts.aside:  # refused entries are retried while nothing else waits
                self._pause(self._backoff.next_s() if counts.aside else _LOOK_S, for_news=True)
            found = self._spool.first()
            if found is None or self._over():
                continue
            entry, body = found
            headers = {**self._headers, "Idempotency-Key": entry.part_id}
            self._settle(entry, self._poster.post(body, headers, self._limit()))

    def _disconnect(self) -> None:
        """Do nothing: each request has a connection of its own."""

    def _well(self) -> None:
        """Reset after an answer of the server."""
        self._backoff.reset()
        self._set_connected(connected=True)

    def _settle(self, entry: Entry, code: int) -> None:
        """Process an answer for the entry. Raises LineError if other entries would fare no better."""
        where = self._poster.where
        if 200 <= code < 300:
            self._taken(entry)
            return
        hint = next((words for least, words in _HINTS if code >= least), "is it a web server?")
        if code in _CONTENT:
            self._spool.set_aside(entry)
            self._last_error = f"{where}: answers {code} to part {entry.part_id}; {hint}."
            self._warnings.begin("part", f"{where} answers {code} to part {entry.part_id}, which is kept")
            self._set_connected(connected=True)
            return
        self._warnings.begin("refused", f"{where} answers {code}: {hint}; parts are kept and sent again")
        raise LineError(f"{where}: answers {code}; {hint}; parts are kept and sent again.")

    def _taken(self, entry: Entry) -> None:
        """Remove an entry that the server accepted."""
        with self._news:
            self._delivered += 1
        self._spool.remove(entry)
        self._last_error = ""
        self._warnings.end("refused")
        if self._spool.counts.aside:
            self._set_connected(connected=True)
        else:
            self._warnings.end("part")
            self._well()

    def _expire(self) -> None:
        """Drop entries that are too old."""
        now = time.monotonic()
        if now - self._expired_at < min(_LOOK_S, self._options.keep_days * 8640):
            return
        self._expired_at = now
        if old := self._spool.expire(self._options.keep_days * 86_400):
            days = f"{self._options.keep_days:g} days"
            self._warnings.begin("old", f"{old} parts were given up: the server did not take them for {days}")

    def _limit(self) -> Limit:
        end = time.monotonic() + self._options.timeout_s
        return Limit(end if self._end is None else min(end, self._end), self._over)

    def _over(self) -> bool:
        """Whether `close` was called and nothing waits any more, or its time is up."""
        if self._end is None:
            return False
        return time.monotonic() >= self._end or (self._spooled and self._nothing_new())

    def _nothing_new(self) -> bool:
        counts = self._spool.counts
        return counts.waiting == counts.aside

    def _pause(self, seconds: float, *, for_news: bool = False) -> None:
        """Sleep, ending early when `close` is called or, with `for_news`, an entry is added."""
        end = time.monotonic() + seconds
        with self._news:
            while (left := end - time.monotonic()) > 0 and not self._over():
                if for_news and (counts := self._spool.counts).waiting > counts.aside:
                    return
                self._news.wait(left if self._end is None else min(left, 0.05))


def _token(secret: Secret, what: str) -> str:
    token = secret.read(f"{what}: token")
    if not re.fullmatch(r"[!-~]+", token):
        raise LineError(f"{what}: the token has characters that no HTTP header can carry.")
    return token
