"""The line that collects: camera, triggers and station of line.toml, with a collector for its only output."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from ast_edge.cameras.uri import masked, secrets_in
from ast_edge.errors import LineError
from ast_edge.line.collect.collector import CameraView, Collector
from ast_edge.line.collect.news import event_text
from ast_edge.line.collect.parts import Parts
from ast_edge.line.collect.taker import Taker
from ast_edge.line.events import Event
from ast_edge.line.hub import Events
from ast_edge.line.service import assemble
from ast_edge.line.service.config import AnyTrigger, CollectConfig
from ast_edge.line.service.web_trigger import enter_by_web
from ast_edge.line.station.setup import Setup
from ast_edge.line.station.station import Station
from ast_edge.line.triggers.polled import PolledOptions
from ast_edge.line.web.server import WebServer
from ast_edge.line.web.view import WebView

_EVENTS_S = 2.0


class CollectingLine:
    """`start`, then `stop`. Sentences for the user gather in `news`.

    Pairing, supervision and triggers are those of `ast-edge run`. The page listens only where triggers arrive
    there. Parts that another station has to judge are none of this one: what the PLC reports as judged is not
    read.
    """

    def __init__(self, config: CollectConfig, parts: Parts, wanted: int | None) -> None:
        self._config = config
        self._events = Events()
        self._camera = assemble.watched_camera(config, self._events.tell)
        self._source = assemble.trigger_source(_without_judged(config.trigger))
        self.collector = Collector(parts, CameraView(self._camera.uri, self._settings), wanted)
        self.station = self._station()
        self.station_news: deque[str] = deque()
        self._web = self._page()

    def start(self) -> None:
        """Start everything; an absent camera or PLC is waited for. LineError if the page cannot listen."""
        if self._source is not None:
            self._source.report = self._events.tell
        self._events.hear(self._hear)
        self._events.start()
        if self._web is not None:
            self._web.start()
        self.station.start()
        if self._source is not None:
            self._source.start(self.station)

    def stop(self) -> None:
        """Stop triggers, take the pictures of the last parts, write what waits, and release everything."""
        if self._source is not None:
            self._source.close()
        if self._config.trigger.kind == "free":
            self.collector.release()
        self.station.stop()
        self.collector.finish()
        self._events.close(_EVENTS_S)
        if self._web is not None:
            self._web.close()

    def news(self) -> list[str]:
        """Return the sentences since the last call."""
        found = []
        for queue in (self.station_news, self.collector.news):
            while queue:
                found.append(queue.popleft())
        return found

    def _station(self) -> Station:
        config = self._config
        free = config.trigger.kind == "free"
        setup = Setup(
            name=config.station.name,
            run=assemble.new_run(),
            camera=self._camera,
            recipes=Taker(self.collector.wait_for_room if free else lambda: None),
            outputs=[self.collector],
            triggering=assemble.triggering(config.trigger),
            software_trigger=config.camera.software_trigger,
            timing=config.station_timing(),
            one_frame_each=config.camera.triggered,
        )
        return Station(setup, self._events.tell)

    def _settings(self) -> dict[str, float | str]:
        """Return the settings of line.toml, and instead of them what the camera reports."""
        given = {
            name: masked(value, secrets_in(value))
            for name, value in self._config.camera.parsed.options.items()
        }
        return {**given, **self._camera.settings}

    def _hear(self, event: Event) -> None:
        if text := event_text(event):
            self.station_news.append(text)

    # ---- triggers by HTTP ----------------------------------------------------------------------------------

    def _page(self) -> WebServer | None:
        config = self._config
        if config.trigger.kind != "software" or config.web is None:
            return None
        view = WebView(
            metrics=bytes,
            status=self._status,
            health=tuple,
            readiness=self._obstacles,
            trigger=self._trigger,
            recipe=_no_recipe,
            rollback=_no_recipe,
            tell=self._events.tell,
        )
        return WebServer(config.web, view)

    def _status(self) -> Mapping[str, object]:
        return {
            "station": self._config.station.name,
            "collected": self.collector.written,
            "missed": self.collector.missed.total(),
            "ready": not self._obstacles(),
            "not_ready": self._obstacles(),
        }

    def _obstacles(self) -> tuple[str, ...]:
        return tuple(self.station.status().obstacles.values())

    def _trigger(
        self, external_id: str | None, encoder: int | None, sent_ms: float | None
    ) -> Mapping[str, object]:
        return enter_by_web(self.station, self._config.trigger, external_id, encoder, sent_ms)


def _no_recipe(*_: str) -> Mapping[str, object]:
    raise LineError("pictures are being collected, without recipes.")


def _without_judged(options: AnyTrigger) -> AnyTrigger:
    if not isinstance(options, PolledOptions):
        return options
    return options.model_copy(update={options.judged_key: None})
