"""What the page knows of the station: functions to call, so that this room knows no station."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ast_edge.errors import LineError
from ast_edge.line.events import Told, nobody


def _nothing() -> Mapping[str, object]:
    return {}


def _no_picture(part_id: str, kind: str) -> bytes | None:  # noqa: ARG001
    return None


def _refused(operator: str) -> Mapping[str, object]:  # noqa: ARG001
    raise LineError("this cannot be changed here.")


@dataclass(frozen=True)
class WebView:
    """Functions that may be called from any thread. `health` and `readiness` give reasons why not, if any.

    `board` is what the operator's page shows, `picture` a JPEG file of a part by its id and kind (`heat`,
    `plain`, `small`), None where there is none. The others change something; what they raise becomes the
    answer. `trigger` takes a part's id, the encoder's count and `sent_ms`, and decides whether it is fresh
    (see `ast_edge.line.triggers.freshness`). It must return at once: it runs on the loop that serves all.
    """

    metrics: Callable[[], bytes]
    status: Callable[[], Mapping[str, object]]
    health: Callable[[], tuple[str, ...]]
    readiness: Callable[[], tuple[str, ...]]
    trigger: Callable[[str | None, int | None, float | None], Mapping[str, object]]
    recipe: Callable[[str, str], Mapping[str, object]]
    rollback: Callable[[str], Mapping[str, object]]
    tell: Told = nobody
    board: Callable[[], Mapping[str, object]] = _nothing
    picture: Callable[[str, str], bytes | None] = _no_picture
    pause: Callable[[str], Mapping[str, object]] = _refused
    resume: Callable[[str], Mapping[str, object]] = _refused
    acknowledge: Callable[[str], Mapping[str, object]] = _refused
