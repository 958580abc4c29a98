"""The log that a run keeps in its folder."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger("ast_edge.train")


class _File(logging.FileHandler):
    """Raises what goes wrong while it writes; logging's own way prints a traceback and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002  # logging's name
        """Let the error out that is being handled."""
        problem = sys.exc_info()[1]
        if isinstance(problem, OSError):
            problem.filename = problem.filename or self.baseFilename
        if problem is not None:
            raise problem


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append what is logged while the block runs to the file `path`."""
    handler = _File(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except BaseException as exc:
        with contextlib.suppress(OSError):  # the disk may be full: that is what the caller prints
            logger.error("stopped: %s", str(exc) or type(exc).__name__)  # noqa: TRY400
        raise
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):  # what a full disk did not take is flushed once more
            handler.close()
