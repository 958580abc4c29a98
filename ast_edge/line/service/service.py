"""A station with cameras, triggers, outputs, archive and page, started and stopped as one."""

from __future__ import annotations

from collections.abc import Mapping

from ast_edge.errors import LineError
from ast_edge.line.archive.output import Archive
from ast_edge.line.audit.log import AuditLog
from ast_edge.line.events import Event, EventKind
from ast_edge.line.hub import Events
from ast_edge.line.outputs.base import OutputStatus
from ast_edge.line.service import assemble
from ast_edge.line.service.config import LineConfig
from ast_edge.line.service.web_trigger import enter_by_web
from ast_edge.line.station.recipes import describe
from ast_edge.line.station.setup import Setup
from ast_edge.line.station.station import Station
from ast_edge.line.status import Balance, Surroundings
from ast_edge.line.watching.alarms import AlarmGuard
from ast_edge.line.watching.drift import DriftGuard
from ast_edge.line.watching.logs import LineLog
from ast_edge.line.watching.metrics import Metrics, Watched
from ast_edge.line.web.board import Board
from ast_edge.line.web.server import WebServer
from ast_edge.line.web.view import WebView

# Longer than any inspection takes; after this the engine or a driver is considered hung.
_HUNG_S = 5.0
_HUNG_DEADLINES = 10
_CAMERA_HUNG_S = 90.0
_EVENTS_S = 2.0
# Events that are also sent to outputs.
_NOTED: frozenset[EventKind] = frozenset(
    {"recipe", "camera", "trigger", "archive", "drift", "alarm", "failure", "invariant"}
)


class Service:
    """Everything configured in line.toml. `start`, then `stop`; errors of opening as in the modules."""

    def __init__(self, config: LineConfig) -> None:
        self.config = config
        self.run = assemble.new_run()
        self.events = Events()
        self.recipes = assemble.open_recipes(config, self.events.tell)
        self.source = assemble.trigger_source(config.trigger)
        self.counterparts = assemble.outputs(config, assemble.encoder_of(self.source))
        self.archive = Archive(config.archive) if config.archive is not None else None
        self.drift = DriftGuard(config.drift) if config.drift is not None else None
        self.alarms = AlarmGuard(config.alarms)
        self.audit = AuditLog(config.audit, self.run) if config.audit is not None else None
        self.log = LineLog(config.log)
        self.board = Board()
        self.camera = assemble.watched_camera(config, self.events.tell)
        self.metrics, self.web = self._faces()
        board = self.board if self.web is not None else None
        more = (self.archive, self.drift, self.alarms, self.metrics, board, self.log)
        self.outputs = [*self.counterparts, *(output for output in more if output is not None)]
        self.station = self._station()

    def _faces(self) -> tuple[Metrics | None, WebServer | None]:
        if self.config.web is None:
            return None, None
        kept = [self.archive] if self.archive is not None else []
        gauges = self.drift.gauges if self.drift is not None else dict
        watched = Watched(
            outputs=[*self.counterparts, *kept, self.log],
            trigger=self.source,
            camera_counters=lambda: self.camera.counters,
            gauges=gauges,
            warnings=self.warnings,
            web=lambda: self.web.counters if self.web is not None else {},
        )
        metrics = Metrics(watched)
        view = WebView(
            metrics.render,
            self.status,
            self.health,
            self.readiness,
            self._trigger,
            self._recipe,
            self._rollback,
            self.events.tell,
            board=self._shown,
            picture=self.board.pictures.get,
            pause=self._pause,
            resume=self._resume,
            acknowledge=self._acknowledge,
        )
        return metrics, WebServer(self.config.web, view)

    def _station(self) -> Station:
        config = self.config
        setup = Setup(
            name=config.station.name,
            run=self.run,
            camera=self.camera,
            recipes=self.recipes,
            outputs=self.outputs,
            triggering=assemble.triggering(config.trigger),
            software_trigger=config.camera.software_trigger,
            timing=config.station_timing(),
            one_frame_each=config.camera.triggered,
        )
        station = Station(setup, self.events.tell)
        station.surroundings = self._surroundings
        return station

    def start(self) -> None:
        """Start everything; absent counterparts are waited for. LineError if the page cannot listen."""
        for each in (*self.outputs, self.source, self.audit):
            if each is not None:
                each.report = self.events.tell
        self.events.hear(self.log.event)
        if self.audit is not None:
            self.events.hear(self._enter_audit)
            self.audit.start()
        self.events.hear(self._note)
        self.events.start()
        self.events.tell("start", {"station": self.config.station.name, **describe(self.recipes.current)})
        if self.web is not None:
            self.web.start()
        self.station.start()
        if self.source is not None:
            self.source.start(self.station)

    def stop(self) -> Balance:
        """Stop triggers, judge and report the last parts; return the final balance."""
        if self.source is not None:
            self.source.close()
        balance = self.station.stop()
        head = self.audit.status.head if self.audit is not None else None
        self.events.tell("stop", {"parts": balance.triggers, **balance.verdicts, "audit_head": head})
        self.events.close(_EVENTS_S)
        if self.audit is not None:
            self.audit.close(_EVENTS_S)
        if self.web is not None:
            self.web.close()
        self.log.end()
        return balance

    # ---- what can be asked ---------------------------------------------------------------------------------

    def hung(self) -> str | None:
        """Describe what hangs for good; None if all is well."""
        limit_s = max(_HUNG_S, _HUNG_DEADLINES * self.config.timing.deadline_ms / 1e3)
        if self.station.busy_s > limit_s:
            return f"the inspection has not moved for {self.station.busy_s:.0f} s"
        if self.camera.hung_s > _CAMERA_HUNG_S:
            return f"the camera's library has not returned for {self.camera.hung_s:.0f} s"
        dead = [thread.name for thread in self.station.threads if not thread.is_alive()]
        return f"threads have ended: {', '.join(dead)}" if dead else None

    def health(self) -> tuple[str, ...]:
        """Reasons why the station is not alive; empty if it is."""
        hung = self.hung()
        reasons = [] if hung is None else [hung]
        if not self.station.balance().balanced:
            reasons.append("the ledger does not balance: a part has no verdict or two")
        if self.web is not None and not self.web.alive:
            reasons.append("the page's server has ended")
        return tuple(reasons)

    def readiness(self) -> tuple[str, ...]:
        """Reasons why the next part may not be judged or reported; empty if it will be."""
        reasons = dict(self.station.status().obstacles)
        if "camera" in reasons:
            reasons["camera"] = f"{reasons['camera']}: {self.camera.last_error}".rstrip(": ")
        away = (_away(output.name, output.status) for output in self.counterparts)
        return (*reasons.values(), *(words for words in away if words))

    def _surroundings(self) -> Surroundings:
        """Return the state outside the station itself."""
        source, trigger = self.source, ""
        if source is not None and not (now := source.status).connected:
            trigger = f"trigger {source.name} is away: {now.last_error}".rstrip(": ")
        return Surroundings(
            trigger=trigger,
            hung=self.hung() or "",
            warnings=self.warnings(),
            alarms=self.alarms.alarms,
            outputs=self._failing(),
        )

    def _failing(self) -> dict[str, str]:
        """Return why an output does not deliver: its counterpart is away, or refuses results."""
        found = {}
        for output in self.counterparts:
            reasons = [words for words in (_away(output.name, output.status), *output.warnings) if words]
            if reasons:
                found[output.name] = reasons[0]
        return found

    def warnings(self) -> tuple[str, ...]:
        """Warnings for people, besides alarms; the line continues."""
        found: list[str] = []
        for each in (self.archive, self.drift, self.audit, *self.counterparts):
            if each is not None:
                found.extend(each.warnings)
        return tuple(found)

    def status(self) -> Mapping[str, object]:
        """Return the status as plain values, for the page and for machines."""
        now, why_not = self.station.status(), self.readiness()
        return {
            **now.as_dict(),
            "ready": not why_not,
            "not_ready": why_not,
            "recipes": self.recipes.names,
            "verdicts": now.balance.verdicts,
            "waiting": now.waiting,
            "counterparts": self._counterparts(),
            "last_parts": self.board.last_parts,
            "events": [
                {"time": event.wall_s, "kind": event.kind, **event.details}
                for event in list(self.events.recent)
            ],
        }

    def _shown(self) -> Mapping[str, object]:
        """Return the data of the operator's page."""
        now, why_not = self.station.status(), self.readiness()
        web = self.config.web
        return {
            **now.as_dict(),
            "ready": not why_not,
            "not_ready": why_not,
            "recipes": self.recipes.names,
            "recipe_error": self.recipes.last_error,
            "obstacles": list(now.obstacles),
            "alarm_kinds": list(now.surroundings.alarms),
            "counterparts": self._counterparts(),
            "can_change": web is not None and web.token is not None,
            **self.board.as_dict(),
        }

    def _counterparts(self) -> list[Mapping[str, object]]:
        counters = ", ".join(f"{count} {name}" for name, count in self.camera.counters.items())
        state = self.camera.state
        rows: list[Mapping[str, object]] = [
            {
                "name": f"camera {self.camera.uri}",
                "kind": "camera",
                "state": state,
                "connected": state == "live",
                "detail": f"{state}; {counters}",
            }
        ]
        if self.source is not None:
            source = self.source.status
            words = f"{source.triggers} triggers, {source.missed} missed; {source.last_error}"
            rows.append(_row("trigger", self.source.name, source.connected, words))
        kept = [self.archive] if self.archive is not None else []
        for output in (*self.counterparts, *kept):
            status = output.status
            words = f"{status.delivered} delivered, {status.queued} waiting, {status.undelivered} given up"
            detail = f"{words}; {status.last_error}".rstrip("; ")
            rows.append(_row("output", output.name, status.connected, detail))
        return rows

    # ---- what can be changed -------------------------------------------------------------------------------

    def _trigger(
        self, external_id: str | None, encoder: int | None, sent_ms: float | None
    ) -> Mapping[str, object]:
        return enter_by_web(self.station, self.config.trigger, external_id, encoder, sent_ms)

    def _recipe(self, name: str, operator: str) -> Mapping[str, object]:
        self.recipes.request(name)
        self.events.tell("operator", {"operator": operator, "asked": "recipe", "recipe": name})
        return {"recipe": name, "state": "being opened; taken at the next part"}

    def _rollback(self, operator: str) -> Mapping[str, object]:
        name = self.recipes.rollback()
        self.events.tell("operator", {"operator": operator, "asked": "rollback", "recipe": name})
        return {"recipe": name, "state": "taken at the next part"}

    def _pause(self, operator: str) -> Mapping[str, object]:
        """Make parts faults from now on. Raises LineError if already paused."""
        if self.station.paused.is_set():
            raise LineError("the station is already paused.")
        self.station.paused.set()
        self.events.tell("operator", {"operator": operator, "asked": "pause"})
        return {"state": "paused"}

    def _resume(self, operator: str) -> Mapping[str, object]:
        """Judge parts again. Raises LineError if the station is not paused."""
        if not self.station.paused.is_set():
            raise LineError("the station is not paused.")
        self.station.paused.clear()
        self.events.tell("operator", {"operator": operator, "asked": "resume"})
        return {"state": "running"}

    def _acknowledge(self, operator: str) -> Mapping[str, object]:
        """Record that an operator has seen the rejects and faults so far."""
        seen = self.board.acknowledge()
        self.events.tell("operator", {"operator": operator, "asked": "acknowledge", "parts": seen})
        return {"acknowledged": seen}

    # ---- listeners -----------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        if event.kind in _NOTED:
            for output in self.counterparts:
                output.note(event)

    def _enter_audit(self, event: Event) -> None:
        if self.audit is not None:
            self.audit.tell(event.kind, event.details)


def _away(name: str, status: OutputStatus) -> str:
    """Return that an output's counterpart is away, and why; empty if it is connected."""
    return "" if status.connected else f"output {name} is away: {status.last_error}".rstrip(": ")


def _row(kind: str, name: str, connected: bool, detail: str) -> Mapping[str, object]:  # noqa: FBT001
    state = "live" if connected else "away"
    return {"name": f"{kind} {name}", "kind": kind, "state": state, "connected": connected, "detail": detail}
