"""Webhook outputs with a spool."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ast_edge.line.outputs.webhook import WebhookOptions, WebhookOutput
from tests.line.parts import StillStation


def make(port: int, spool: Path, **options: Any) -> WebhookOutput:
    given = {"kind": "webhook", "url": f"http://127.0.0.1:{port}/parts", "spool": spool, "retry_s": 0.05}
    return WebhookOutput(WebhookOptions(**{**given, **options}))


@contextmanager
def webhook(port: int, spool: Path, close_s: float = 20.0, **options: Any) -> Iterator[WebhookOutput]:
    """An output that runs while the block does, and ends with it."""
    output = make(port, spool, **options)
    output.start(StillStation())
    try:
        yield output
    finally:
        output.close(close_s)
        output.close(close_s)
        names = {thread.name for thread in threading.enumerate()}
        assert not names & {f"ast-edge-{output.name}-{what}" for what in ("spool", "post")}


def waiting(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.glob("*.json"))
