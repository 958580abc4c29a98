"""What the page knows of the station: functions to call, so that this room knows no station."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ast_edge.line.events import Told, nobody


@dataclass(frozen=True)
class WebView:
    """Functions that may be called from any thread. `health` and `readiness` give reasons why not, if any.

    `trigger`, `recipe` and `rollback` change something; what they raise becomes the answer. `trigger` takes a
    part's id, the encoder's count and `sent_ms`, and decides whether it is fresh (see
    `ast_edge.line.triggers.freshness`). It must return at once: it runs on the loop that serves requests.
    """

    metrics: Callable[[], bytes]
    status: Callable[[], Mapping[str, object]]
    health: Callable[[], tuple[str, ...]]
    readiness: Callable[[], tuple[str, ...]]
    trigger: Callable[[str | None, int | None, float | None], Mapping[str, object]]
    recipe: Callable[[str, str], Mapping[str, object]]
    rollback: Callable[[str], Mapping[str, object]]
    tell: Told = nobody
