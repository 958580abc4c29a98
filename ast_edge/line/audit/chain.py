"""The format of the audit log, and its verification.

One line is one JSON object in ASCII with the keys `n` (1, 2, 3, ...), `time` (UTC), `run`, `kind`, `details`,
`previous` and `digest`, in this order and without spaces. `digest` is the SHA-256 of the line up to, and
without, `,"digest":`; `previous` is the digest of the previous line, 64 zeros in the first. Full files are
renamed to <name>.000001, <name>.000002, ...; the chain continues from one to the next.

The chain alone shows that a line was changed, removed, inserted or moved. It cannot show that the end was cut
off between two lines, or that the whole log was rewritten by an attacker who knows the format. Both show
against a digest that was recorded elsewhere, which must still be in the log.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ast_edge.errors import LineError, reason

START = "0" * 64
MOST_LINE_BYTES = 65_536
_MOST_FINDINGS = 100
_SEAL = re.compile(rb',"digest":"([0-9a-f]{64})"\}')
_SEAL_BYTES = len(',"digest":""}') + 64


class Entry(BaseModel):
    """One line."""

    model_config = ConfigDict(extra="forbid", strict=True)

    n: int
    time: str
    run: str
    kind: str
    details: dict[str, object]
    previous: str
    digest: str


@dataclass(frozen=True)
class Line:
    """The place in the chain that a line claims, right or wrong; `entry` is None for a line that is no entry.

    `link` is what the next line must have as `previous`; `true` is whether the line matches its own digest.
    """

    entry: Entry | None
    link: str
    true: bool


@dataclass(frozen=True)
class Finding:
    """A deviation from the log as written: the file, the line (from 1), and a description."""

    file: str
    line: int
    what: str


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """Result of a verification. `head` is the digest to record, of entry `last`; 64 zeros without entries.

    `torn` entries were truncated by a kill or a power failure during writing; `missing` ones could not be
    written. Both are recorded in the log itself and are not findings.
    """

    files: tuple[str, ...]
    entries: int
    last: int
    head: str
    last_time: str
    torn: int
    missing: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the log is unchanged, as far as the chain can show."""
        return not self.findings


def make_line(n: int, wall_s: float, run: str, kind: str, details: str, previous: str) -> tuple[bytes, str]:
    """Return one line with its line feed, and its digest; `details` is already a JSON object."""
    moment = datetime.fromtimestamp(wall_s, timezone.utc).isoformat(timespec="milliseconds")
    head = json.dumps({"n": n, "time": moment, "run": run, "kind": kind}, separators=(",", ":"))
    body = f'{head[:-1]},"details":{details},"previous":"{previous}"'.encode("ascii")
    digest = hashlib.sha256(body).hexdigest()
    return body + f',"digest":"{digest}"}}\n'.encode("ascii"), digest


def read_line(raw: bytes) -> Line:
    """Parse a line without its line feed."""
    seal = _SEAL.fullmatch(raw[-_SEAL_BYTES:])
    body = hashlib.sha256(raw[:-_SEAL_BYTES]).hexdigest()
    entry = None
    with contextlib.suppress(ValidationError):
        entry = Entry.model_validate_json(raw)
    if seal is None or entry is None:
        # Even if this line is invalid, the next line can refer to it.
        return Line(None, hashlib.sha256(raw).hexdigest(), true=False)
    return Line(entry, entry.digest, true=seal[1].decode() == entry.digest == body)


def segments(path: Path) -> list[Path]:
    """Return the existing files of a log in order, the current one last."""
    full = re.compile(re.escape(path.name) + r"\.[0-9]{6,}")
    try:
        names = [name for name in path.parent.iterdir() if full.fullmatch(name.name)]
    except OSError:
        names = []
    files = sorted(names, key=lambda name: int(name.suffix[1:]))
    return [*files, path] if path.is_file() else files


def verify(path: Path, head: str | None = None) -> AuditReport:
    """Verify the log at `path` with its full files; `head` is a digest recorded earlier.

    Raises LineError when there is no log or it cannot be read.
    """
    files = segments(path)
    if not files:
        raise LineError(f"{path}: there is no audit log; give the log file of the station.")
    proof = _Proof(head)
    try:
        for file in files:
            for number, raw in enumerate(_lines(file), 1):
                proof.add(file.name, number, raw)
    except OSError as exc:
        where = exc.filename or path
        raise LineError(f"{where}: cannot be read ({reason(exc)}); check its permissions.") from exc
    return proof.report(files)


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while line := stream.readline(MOST_LINE_BYTES):
            yield line


class _Proof:
    """Walks along the chain; after a finding it continues with the line's own claims, to report each once."""

    def __init__(self, head: str | None) -> None:
        self._wanted = head
        self._seen = head is None or head == START
        self._n, self._link = 0, START
        self._head, self._time = START, ""
        self._entries = self._torn = self._missing = 0
        self._findings: list[Finding] = []

    def add(self, file: str, number: int, raw: bytes) -> None:
        if not raw.endswith(b"\n"):
            self._find(file, number, "is incomplete: truncated, too long, or being written right now")
        line = read_line(raw.removesuffix(b"\n"))
        self._entries += 1
        if line.entry is None:
            self._find(file, number, "is not an entry of an audit log")
            self._n, self._link = self._n + 1, line.link
            return
        self._check(file, number, line, line.entry)
        self._n, self._link = line.entry.n, line.link
        self._head, self._time = line.link, line.entry.time
        self._seen = self._seen or (line.true and line.link == self._wanted)
        self._count(line.entry)

    def _check(self, file: str, number: int, line: Line, entry: Entry) -> None:
        if not line.true:
            self._find(file, number, f"entry {entry.n} was changed: it does not match its own digest")
        if entry.n > self._n + 1:
            last = entry.n - 1
            which = f"entry {last} is" if last == self._n + 1 else f"entries {self._n + 1} to {last} are"
            self._find(file, number, f"{which} missing before entry {entry.n}")
        elif entry.n <= self._n:
            self._find(file, number, f"entry {entry.n} comes after entry {self._n}: inserted or moved")
        elif entry.previous != self._link:
            self._find(file, number, f"entry {entry.n} does not follow the previous line")

    def _count(self, entry: Entry) -> None:
        self._torn += entry.kind == "torn"
        count = entry.details.get("count")
        if entry.kind == "missing" and isinstance(count, int):
            self._missing += count

    def _find(self, file: str, number: int, what: str) -> None:
        if len(self._findings) < _MOST_FINDINGS:
            self._findings.append(Finding(file, number, what))

    def report(self, files: list[Path]) -> AuditReport:
        if not self._seen:
            what = "the recorded digest is not in the log: its end was cut off, or it was rewritten"
            self._findings.insert(0, Finding(files[-1].name, 0, what))
        return AuditReport(
            files=tuple(file.name for file in files),
            entries=self._entries,
            last=self._n,
            head=self._head,
            last_time=self._time,
            torn=self._torn,
            missing=self._missing,
            findings=tuple(self._findings),
        )
