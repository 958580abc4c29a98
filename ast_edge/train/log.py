"""The log that a run keeps in its folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger("ast_edge.train")


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append what is logged while the block runs to the file `path`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except BaseException as exc:
        logger.error("stopped: %s", str(exc) or type(exc).__name__)  # noqa: TRY400  # the caller prints it
        raise
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
