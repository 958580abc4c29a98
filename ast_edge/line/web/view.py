"""The page's access to the station: functions, so that this package does not depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ast_edge.errors import LineError
from ast_edge.line.events import Report, ignore


def _nothing() -> Mapping[str, object]:
    return {}


def _no_picture(part_id: str, kind: str) -> bytes | None:  # noqa: ARG001
    return None


def _refused(operator: str) -> Mapping[str, object]:  # noqa: ARG001
    raise LineError("this cannot be changed here.")


@dataclass(frozen=True)
class WebView:
    """Functions callable from any thread. `health` and `readiness` return reasons for a problem, if any.

    `board` returns the data of the operator's page, `picture` a JPEG file of a part by its id and kind
    (`heat`, `plain`, `small`), None if it does not exist. The others change something; their exceptions
    become the answer. `trigger` takes a part's id, the encoder's count and `sent_ms`, and checks that it is
    fresh (see `ast_edge.line.triggers.freshness`). It must return at once, since it runs on the server's
    loop.
    """

    metrics: Callable[[], bytes]
    status: Callable[[], Mapping[str, object]]
    health: Callable[[], tuple[str, ...]]
    readiness: Callable[[], tuple[str, ...]]
    trigger: Callable[[str | None, int | None, float | None], Mapping[str, object]]
    recipe: Callable[[str, str], Mapping[str, object]]
    rollback: Callable[[str], Mapping[str, object]]
    tell: Report = ignore
    board: Callable[[], Mapping[str, object]] = _nothing
    picture: Callable[[str, str], bytes | None] = _no_picture
    pause: Callable[[str], Mapping[str, object]] = _refused
    resume: Callable[[str], Mapping[str, object]] = _refused
    acknowledge: Callable[[str], Mapping[str, object]] = _refused
