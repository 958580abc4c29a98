"""Events of a line as sentences for the person who collects."""

from __future__ import annotations

from ast_edge.line.events import Event


def event_text(event: Event) -> str:
    """Describe an event in a sentence; empty for one that needs none."""
    details = event.details
    if event.kind == "camera":
        return _camera_text(details.get("camera"), details.get("state"), details.get("error"))
    if event.kind == "trigger":
        return _trigger_text(event)
    return f"failure: {details.get('error')}" if event.kind == "failure" else ""


def _camera_text(camera: object, state: object, error: object) -> str:
    if state not in ("live", "stalled", "lost"):
        return ""
    return f"camera {camera} is {state}" + (f": {error}" if error else "")


def _trigger_text(event: Event) -> str:
    details = event.details
    name = f"trigger {details.get('trigger')}"
    if (why := details.get("uncounted")) is not None:
        return f"{name}: parts passed uncounted: {why}"
    if details.get("connected") is False:
        return f"{name} is away: {details.get('error')}"
    return f"{name} is connected" if details.get("connected") else ""
