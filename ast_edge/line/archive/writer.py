"""The pictures' thread: encodes and writes one part at a time, and waits while the disk refuses."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ast_edge.errors import sentence
from ast_edge.line.archive.options import ArchiveOptions
from ast_edge.line.archive.pictures import write_part
from ast_edge.line.archive.queues import Queues, picture_bytes
from ast_edge.line.archive.row import Files, Outcome, PictureState
from ast_edge.line.part import PartResult
from ast_edge.line.priority import step_back
from ast_edge.line.warned import Warnings

_PROBE_S = 1.0
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class PictureWriter:
    """Takes parts from `queues` and settles each; `refused` is called with bytes that a full disk refused."""

    def __init__(
        self,
        options: ArchiveOptions,
        queues: Queues,
        warnings: Warnings,
        refused: Callable[[int], None],
    ) -> None:
        self._options = options
        self._queues = queues
        self._warnings = warnings
        self._refused = refused
        self._needed = 0  # bytes needed by the last refused part
        self._probed = 0.0
        self._end: float | None = None
        self.failures = 0
        self.thread = threading.Thread(target=self._run, name="ast-edge-archive-pictures", daemon=True)

    def close(self, end: float) -> None:
        """Write what waits until `end` of the monotonic clock; the rest is recorded as not written."""
        self._end = end
        self._queues.close()

    def _run(self) -> None:
        step_back()  # drawing and packing pictures takes longer than an inspection
        while True:
            result = self._queues.next_picture(_PROBE_S)
            if result is not None:
                self._settle(result)
                del result  # do not hold a picture while idle
            elif self._end is not None:
                return
            elif self._warnings.holds("pictures"):
                self._probe()

    def _settle(self, result: PartResult) -> None:
        files, state = Files(), self._attempt_state()
        if state == "kept":
            files, state = self._write(result)
        passed = result.verdict == "pass"
        self._queues.settle(result, Outcome(result.run, result.number, passed, state, files))

    def _attempt_state(self) -> PictureState:
        """Return whether a part is worth an attempt: "kept", or the reason why not."""
        if self._end is not None and time.monotonic() >= self._end:
            return "interrupted"
        if self._warnings.holds("pictures"):
            self._probe()
        return "unwritable" if self._warnings.holds("pictures") else "kept"

    def _write(self, result: PartResult) -> tuple[Files, PictureState]:
        try:
            files = write_part(result, self._options)
        except OSError as exc:
            self._needed = picture_bytes(result)
            if exc.errno in FULL:
                self._refused(self._needed)
            self._warnings.begin("pictures", f"pictures cannot be written: {sentence(exc)}")
        except Exception as exc:  # noqa: BLE001 (a picture that cannot be drawn stops nothing)
            self.failures += 1
            self._warnings.begin("drawing", f"a picture cannot be drawn: {sentence(exc)}")
        else:
            self._warnings.end("drawing")
            return files, "kept"
        return Files(), "unwritable"

    def _probe(self) -> None:
        """Check, at most once a second, whether the disk accepts files again."""
        if time.monotonic() - self._probed < _PROBE_S:
            return
        self._probed = time.monotonic()
        if writable(self._options.folder, self._needed):
            self._refused(0)
            self._warnings.end("pictures")


def writable(folder: Path, needed: int) -> bool:
    """Whether a file can be written to `folder` and removed again, and twice `needed` bytes are free."""
    probe = folder / ".probe.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(4096))
        finally:
            probe.unlink(missing_ok=True)
        return shutil.disk_usage(folder).free >= 2 * needed
    except OSError:
        return False
