"""`ast-edge run --check`: open everything that a line needs, inspect one frame, and report problems."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ast_edge.cameras.base import Frame, NoFrame
from ast_edge.cameras.opening import open_camera
from ast_edge.errors import AstEdgeError, CameraError, LineError, reason
from ast_edge.line.outputs.base import Output
from ast_edge.line.outputs.modbus import SHORT
from ast_edge.line.outputs.plc import PlcOutputOptions
from ast_edge.line.part import Trigger
from ast_edge.line.service import assemble
from ast_edge.line.service.config import AnyOutput, LineConfig
from ast_edge.line.station.recipes import Recipe, open_recipe
from ast_edge.line.status import Balance, StationStatus
from ast_edge.line.triggers.base import TriggerSource
from ast_edge.line.triggers.polled import PolledOptions, PolledTrigger
from ast_edge.line.web.server import WebOptions, WebServer
from ast_edge.line.web.view import WebView

# As long as nothing has failed, an OPC UA server may still be building its address space.
_CONNECT_S, _START_S = 5.0, 20.0
_FRAME_S = 10.0
_POLL_S = 0.05
_ANSWERS, _ANSWERS_S = 50, 5.0
_GAP_MARGIN = 1.5  # a busy machine polls late


@dataclass(frozen=True)
class Finding:
    """The result of one check: whether it succeeded, what was checked, and what was found."""

    ok: bool
    what: str
    found: str


class Times(NamedTuple):
    """What the first picture took to arrive, and an inspection, in milliseconds."""

    picture_ms: float
    inspection_ms: float


def check(config: LineConfig) -> Iterator[Finding]:
    """Check files, camera, trigger, outputs and timing, in this order; nothing is left open."""
    recipes: dict[str, Recipe] = {}
    measured = list[Times]()
    try:
        for name in config.recipes.models:
            yield _attempt(f"recipe {name}", _opening(config, name, recipes))
        for folder in _folders(config):
            yield _attempt(f"folder {folder}", partial(_writable, folder))
        first = recipes.get(config.recipes.first)
        yield _attempt(f"camera {config.camera.parsed.public}", lambda: _one_frame(config, first, measured))
        yield from _counterparts(config, first)
        for times in measured:
            yield _attempt("timing", partial(_timing, config, times))
    finally:
        for recipe in recipes.values():
            recipe.inspector.close()


def _attempt(what: str, trying: Callable[[], str]) -> Finding:
    try:
        return Finding(ok=True, what=what, found=trying())
    except AstEdgeError as exc:
        return Finding(ok=False, what=what, found=str(exc).removeprefix(f"{what.partition(' ')[2]}: "))


def _opening(config: LineConfig, name: str, recipes: dict[str, Recipe]) -> Callable[[], str]:
    def opening() -> str:
        section = config.recipes
        recipe = recipes[name] = open_recipe(
            name, section.models[name], threads=section.threads, backend=section.engine
        )
        spec = recipe.inspector.spec
        choice = f" ({recipe.inspector.engine_choice})" if recipe.inspector.engine_choice else ""
        return f"{spec.mode}, threshold {spec.threshold.value:g}, proven on {recipe.inspector.engine}{choice}"

    return opening


def _one_frame(config: LineConfig, recipe: Recipe | None, measured: list[Times]) -> str:
    """Open the camera, take a frame, and judge it with the first recipe."""
    with open_camera(config.camera.uri) as camera:
        began = time.monotonic()
        if config.camera.software_trigger:
            camera.trigger()
        while not isinstance(frame := camera.read(0.5), Frame):
            if frame is NoFrame.END or time.monotonic() > began + _FRAME_S:
                raise CameraError(
                    f"no frame within {_FRAME_S:g} s; "
                    + ("trigger the camera while this runs" if config.trigger.kind != "free" else "is it on?")
                )
        picture_ms = (time.monotonic() - began) * 1e3
    seen = frame.pixels if frame.pixels is not None else frame.depth_m
    shape = "" if seen is None else "x".join(str(size) for size in seen.shape[1::-1])
    if recipe is None:
        return f"{shape} {frame.colour}; not judged, since the recipe cannot be opened"
    recipe.inspect(frame)  # warms the engine up
    started = time.monotonic()
    found = recipe.inspect(frame)
    measured.append(Times(picture_ms, (time.monotonic() - started) * 1e3))
    return f"{shape} {frame.colour}; {found.verdict}, score {found.score:g} {found.reason}".rstrip()


def _timing(config: LineConfig, times: Times) -> str:
    """Compare an inspection with the deadline. Raises LineError if it takes longer."""
    limit_ms = config.timing.deadline_ms
    if times.inspection_ms > limit_ms:
        raise LineError(
            f"an inspection takes {times.inspection_ms:.0f} ms, timing.deadline_ms is {limit_ms:g}: "
            "every part would be late; allow more or take a smaller preset"
        )
    return (
        f"the first picture arrived after {times.picture_ms:.1f} ms, an inspection takes "
        f"{times.inspection_ms:.1f} ms; timing.deadline_ms is {limit_ms:g} for both"
    )


def _counterparts(config: LineConfig, first: Recipe | None) -> Iterator[Finding]:
    """Check the sources of triggers and the outputs."""
    bench = _NotRunning(config, first.inspector.spec.threshold.value if first is not None else 0.0)
    yield _attempt(f"trigger {config.trigger.kind}", lambda: _trigger(config, bench))
    for options in config.output:
        yield _attempt(f"output {options.name}", partial(_output, config, options, bench))
    if config.web is not None:
        yield _attempt(f"page on port {config.web.port}", partial(_listening, config.web))


def _trigger(config: LineConfig, bench: _NotRunning) -> str:
    source = assemble.trigger_source(config.trigger)
    if source is None:
        return "nothing to connect to"
    source.start(bench)
    try:
        connected = _connected(source)
        if isinstance(config.trigger, PolledOptions) and isinstance(source, PolledTrigger):
            return f"{connected}; {_answers(config, config.trigger, source)}"
        return connected
    finally:
        source.close()


def _answers(config: LineConfig, options: PolledOptions, source: PolledTrigger) -> str:
    """Return the PLC's response time, and its consequence for the times in line.toml. Raises LineError."""
    end = time.monotonic() + _ANSWERS_S
    while len(source.answers_ms) < _ANSWERS and time.monotonic() < end:
        time.sleep(_POLL_S)
    answers = list(source.answers_ms)
    longest_ms = max(answers)
    # A part that arrives just after one poll was read is seen by the next, when that is answered.
    unknown_ms = max(options.poll_ms, longest_ms) + longest_ms
    found = f"it answers in {median(answers):.1f} ms, in {longest_ms:.1f} ms at most of {len(answers)} polls"
    found += f": a part is seen up to {unknown_ms:.0f} ms after it arrived"
    if (needed_ms := unknown_ms * _GAP_MARGIN) > options.gap_ms:
        raise LineError(
            f"{found}, and trigger.max_gap_ms is {options.gap_ms:g}, so that parts would be missed; set it "
            f"to {needed_ms:.0f} or more where a part stays before the camera for longer than that, or have "
            "the PLC answer faster"
        )
    settle_ms = config.timing.settle_ms or 0.0
    return (
        f"{found} and photographed timing.settle_ms = {settle_ms:g} after that: it must stay in view for "
        f"{unknown_ms + settle_ms:.0f} ms and a picture's time"
    )


def _output(config: LineConfig, options: AnyOutput, bench: _NotRunning) -> str:
    output = assemble.output(options, assemble.encoder_of(assemble.trigger_source(config.trigger)))
    output.start(bench)
    try:
        found = _connected(output)
    finally:
        output.close(1.0)
    unclaimed = _claims(options) if isinstance(options, PlcOutputOptions) else ""
    return f"{found}; {unclaimed}" if unclaimed else found


def _claims(options: PlcOutputOptions) -> str:
    """Say whether a second station on this PLC would be noticed."""
    if options.claims:
        return ""
    if options.reports:
        return f"a second station on its registers would not be noticed with block = {SHORT}"
    return f"a second station on its {options.bit_key} would not be noticed: give {options.block_key}, too"


def _folders(config: LineConfig) -> list[Path]:
    """The folders of archive and audit log."""
    folders = [config.archive.folder] if config.archive is not None else []
    return folders + ([config.audit.file.parent] if config.audit is not None else [])


def _writable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return "can be written"
    except OSError as exc:
        raise LineError(f"cannot be written ({reason(exc)}); check path and permissions") from exc


def _listening(options: WebOptions) -> str:
    def nothing(*_: object) -> dict[str, object]:
        return {}

    view = WebView(bytes, dict, tuple, tuple, nothing, nothing, nothing)
    server = WebServer(options, view)
    server.start()
    server.close()
    return "can listen"


def _connected(counterpart: TriggerSource | Output) -> str:
    began = time.monotonic()
    while not (now := counterpart.status).connected:
        limit_s = _CONNECT_S if now.last_error else _START_S
        if time.monotonic() > began + limit_s:
            raise LineError(f"not connected within {limit_s:g} s: {now.last_error or 'no answer'}")
        time.sleep(_POLL_S)
    return "connected"


class _NotRunning:
    """A station that only tests whether its counterparts are reachable; it accepts no trigger."""

    def __init__(self, config: LineConfig, threshold: float) -> None:
        balance = Balance(triggers=0, verdicts={}, open=0)
        name, recipe = config.station.name, config.recipes.first
        self._status = StationStatus(
            name=name,
            run="check",
            state="starting",
            recipe=recipe,
            threshold=threshold,
            camera="connecting",
            frame_age_s=None,
            balance=balance,
            waiting=0,
            failures=0,
            last_failure="",
        )

    def status(self) -> StationStatus:
        """Return the status of a station that is starting."""
        return self._status

    def trigger(
        self,
        at_ns: int | None = None,
        *,
        until_ns: int | None = None,
        encoder: int | None = None,
        source: str = "software",
        external_id: str | None = None,
    ) -> Trigger:
        """Return a trigger that no station takes."""
        return Trigger(
            number=0,
            at_ns=at_ns or time.monotonic_ns(),
            wall_s=time.time(),
            encoder=encoder,
            source=source,
            external_id=external_id,
            until_ns=until_ns,
        )

    def missed(self, count: int, source: str, external_ids: Sequence[str] = (), why: str = "") -> None:
        """Ignore missed parts."""

    def uncounted(self, source: str, why: str) -> None:
        """Ignore uncounted parts."""
