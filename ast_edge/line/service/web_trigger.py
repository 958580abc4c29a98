"""Parts that a client of the web interface signals."""

from __future__ import annotations

from collections.abc import Mapping

from ast_edge.errors import LineError, UsageError
from ast_edge.line.service.config import AnyTrigger, SoftwareTrigger
from ast_edge.line.station.station import Station
from ast_edge.line.triggers.freshness import StaleError, message_moment


def enter_by_web(
    station: Station, options: AnyTrigger, external_id: str | None, encoder: int | None, sent_ms: float | None
) -> Mapping[str, object]:
    """Enter a part by HTTP, and return the answer.

    Raises UsageError on a line with other triggers, LineError for a stale one, which is missed.
    """
    if not isinstance(options, SoftwareTrigger):
        raise UsageError(
            f"trigger.kind is {options.kind!r}: parts come from there; only 'software' accepts them here."
        )
    try:
        moment = message_moment(sent_ms, options.age_ms)
    except StaleError as exc:
        station.missed(1, "web", () if external_id is None else (external_id,), str(exc))
        raise LineError(f"{exc}; the part is a fault.") from exc
    trigger = station.trigger(
        moment.at_ns, until_ns=moment.until_ns, encoder=encoder, source="web", external_id=external_id
    )
    return {"part_id": f"{station.setup.run}-{trigger.number:07d}", "number": trigger.number}
