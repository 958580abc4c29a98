"""Files and folders that tables are in: locked for one process, and why one cannot be written."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from ast_edge.errors import LineError, reason
from ast_edge.files import claim


def claimed(path: Path, lock: Path) -> IO[bytes]:
    """Lock `lock`, which stands for the table at `path`. Raises LineError if that is not possible."""
    try:
        return claim(lock)
    except BlockingIOError as exc:
        raise LineError(f"{path}: another process appends to it; try again when it has ended.") from exc
    except OSError as exc:
        raise refused(path, exc) from exc


def refused(path: Path, exc: OSError) -> LineError:
    """The error for a table that cannot be written."""
    return LineError(f"{path}: cannot be written ({reason(exc)}); free some space or give another.")
