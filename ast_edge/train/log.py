"""The log file in a run folder."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from ast_edge.errors import sentence

logger = logging.getLogger("ast_edge.train")


class _File(logging.FileHandler):
    """Raises errors of writing; the default of logging prints a traceback and continues."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002  # logging's name
        """Re-raise the error being handled."""
        problem = sys.exc_info()[1]
        if isinstance(problem, OSError):
            problem.filename = problem.filename or self.baseFilename
        if problem is not None:
            raise problem


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append log records to the file `path` while the block runs."""
    handler = _File(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except BaseException as exc:
        with contextlib.suppress(OSError):  # the disk may be full; the caller reports that
            logger.error("stopped: %s", sentence(exc))  # noqa: TRY400
        raise
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):  # closing flushes again what a full disk refused
            handler.close()
