"""The station: turns each trigger into one verdict, in time, whatever happens to camera, engine and outputs.

Threads: the camera's capture; the inspection, the only one that uses the engine; the shutter, which requests
a frame as soon as a part is in place, however busy the inspection is, and is replaced if the camera's library
does not return; and the clock, which decides parts that the inspection did not decide in time. Outputs have
their own threads.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, Full, Queue

from ast_edge.cameras.base import Frame, NoFrame
from ast_edge.errors import AstEdgeError, CameraError, sentence
from ast_edge.inspector import Inspection
from ast_edge.line.events import Report, ignore
from ast_edge.line.part import PartResult, Trigger
from ast_edge.line.station.arrivals import Arrivals
from ast_edge.line.station.closing import close_all
from ast_edge.line.station.ledger import Ledger
from ast_edge.line.station.pairing import Pairing
from ast_edge.line.station.setup import PAUSED, Judge, Setup
from ast_edge.line.station.shutter import Shutter
from ast_edge.line.status import Balance, StationState, StationStatus, Surroundings
from ast_edge.verdict.scoring import Verdict

_POLL_S = 0.02
_CLOCK_S = 0.002
_GRACE_S = 1.0  # extra time for components to close, beyond their own limit


class Station:
    """Runs until `stop()`; `trigger()` may be called from any thread.

    With triggering "free" every frame that the inspection takes is a part (the camera's ring drops the
    others); with "camera" every frame is a part, and every frame lost in transit is one too, a fault; with
    "external" `trigger()` creates parts. While `paused` is set every part is a fault; with "free" there are
    none.
    """

    def __init__(self, setup: Setup, report: Report = ignore) -> None:
        self.setup = setup
        self._report = report
        self.ledger = Ledger(self._deliver)
        self._waiting: Queue[Trigger] = Queue(setup.timing.max_waiting)
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self.paused = threading.Event()
        # Daemons: an engine or a driver that hangs forever must not keep the process from ending.
        self._shutter = Shutter(setup.camera, setup.timing, self.ledger.is_open, self._fault)
        inspect, clock = self._thread("inspect", self._inspect), self._thread("clock", self._clock)
        self._threads = [inspect, clock, self._shutter_thread()]
        self._pairing = Pairing(
            setup.camera,
            setup.timing,
            self._following,
            self._given_up,
            one_each=setup.one_frame_each,
            shutter=self._shutter if setup.software_trigger else None,
        )
        self._arrivals = Arrivals(
            setup.camera, self._enter_frame, self._fault, self.uncounted, setup.timing.max_waiting
        )
        self._turned_ns = time.monotonic_ns()
        self.failures = 0
        self.last_failure = ""
        self._gaps = 0
        self._last_gap = ""
        self.surroundings: Callable[[], Surroundings] = Surroundings

    def start(self) -> None:
        """Start outputs and threads."""
        for output in self.setup.outputs:
            output.start(self)
        for thread in self._threads:
            thread.start()

    def status(self) -> StationStatus:
        """Return the status; from any thread."""
        setup, recipe = self.setup, self.setup.recipes.current
        return StationStatus(
            name=setup.name,
            run=setup.run,
            state=self._state(),
            recipe=recipe.name,
            threshold=recipe.threshold,
            camera=setup.camera.state,
            frame_age_s=setup.camera.frame_age_s,
            balance=self.balance(),
            waiting=self.waiting,
            failures=self.failures,
            last_failure=self.last_failure,
            gaps=self._gaps,
            last_gap=self._last_gap,
            surroundings=self.surroundings(),
        )

    def _state(self) -> StationState:
        if self._stopped.is_set():
            return "stopped"
        if self._stopping.is_set():
            return "stopping"
        if self.paused.is_set():
            return "paused"
        return "running" if self._threads[0].ident is not None else "starting"

    def trigger(
        self,
        at_ns: int | None = None,
        *,
        until_ns: int | None = None,
        encoder: int | None = None,
        source: str = "software",
        external_id: str | None = None,
    ) -> Trigger:
        """Enter a part (triggering "external") that arrived at `at_ns`, or between then and `until_ns`.

        Never blocks: if too many parts wait already, this one becomes a fault at once.
        """
        now = time.monotonic_ns()
        at_ns = now if at_ns is None else at_ns
        wall_s = time.time() - (now - at_ns) / 1e9
        trigger = self.ledger.enter(at_ns, wall_s, encoder, source, external_id, until_ns)
        if self._stopping.is_set() or self.paused.is_set():
            self._fault(trigger, "the station is stopping" if self._stopping.is_set() else PAUSED)
            return trigger
        try:
            # First into the queue, then to the camera: pairing must know of the part before its frame
            # arrives.
            self._waiting.put_nowait(trigger)
        except Full:
            self._fault(trigger, f"more than {self.setup.timing.max_waiting} parts are waiting")
        else:
            if self.setup.software_trigger:
                self._shutter.ask(trigger)
        return trigger

    def missed(self, count: int, source: str, external_ids: Sequence[str] = (), why: str = "") -> None:
        """Enter parts that passed unseen, or were seen too late, according to their source."""
        for at in range(count):
            external_id = external_ids[at] if at < len(external_ids) else None
            trigger = self.ledger.enter(time.monotonic_ns(), time.time(), None, source, external_id)
            self._fault(trigger, why or "the trigger was lost in transit")

    def uncounted(self, source: str, why: str) -> None:
        """Record that an unknown number of parts passed: counters and `judged` are incomplete from now on."""
        self._gaps, self._last_gap = self._gaps + 1, f"{source}: {why}"
        self._report("trigger", {"trigger": source, "uncounted": why})

    def balance(self) -> Balance:
        """Return the ledger's balance."""
        return self.ledger.balance()

    @property
    def busy_s(self) -> float:
        """Seconds since the inspection last looked for a part: large if the engine or a driver hangs."""
        return (time.monotonic_ns() - self._turned_ns) / 1e9

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        """The station's own threads, all of which run while it does."""
        return tuple(self._threads)

    @property
    def ended(self) -> bool:
        """Whether the camera has delivered its last frame."""
        return self._stopping.is_set()

    @property
    def waiting(self) -> int:
        """Number of parts in the queue."""
        return self._waiting.qsize()

    def stop(self) -> Balance:
        """Judge open parts, flush the outputs, release everything; return the final balance.

        Takes at most about twice `drain_s` plus a second, even if engine, camera or an output hang: these are
        then abandoned until the process ends.
        """
        self._stopping.set()
        if self.setup.triggering == "camera" and self._threads[0].ident is not None:
            self._arrivals.drained.wait(self.setup.timing.drain_s)
        self.ledger.wait_until_settled(self.setup.timing.drain_s)
        self._stopped.set()
        hanging = self._join()
        for trigger in self.ledger.overdue(time.monotonic_ns() + 1):
            self._fault(trigger, "the station stopped before the part was judged")
        drain_s = max(self.setup.timing.drain_s, 0.1)
        closers: list[tuple[str, Callable[[], None]]] = [
            (f"output {output.name}", partial(output.close, drain_s)) for output in self.setup.outputs
        ]
        closers.append(("camera", self.setup.camera.close))
        if not hanging:
            closers.append(("recipes", self.setup.recipes.close))
        close_all(closers, drain_s + _GRACE_S, self._note_failure)
        return self.balance()

    def _join(self) -> bool:
        """Wait for the threads; return whether one of them hangs."""
        end = time.monotonic() + max(self.setup.timing.drain_s, 1.0)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(end - time.monotonic(), 0.0))
        hanging = [thread.name for thread in self._threads if thread.is_alive()]
        if hanging:
            self._note_failure("stop", TimeoutError(f"still busy: {', '.join(hanging)}"))
        return bool(hanging)

    def _thread(
        self, name: str, work: Callable[[], None], wanted: Callable[[], bool] = lambda: True
    ) -> threading.Thread:
        return threading.Thread(
            target=self._guarded, args=(work, name, wanted), name=f"ast-edge-{name}", daemon=True
        )

    def _guarded(self, work: Callable[[], None], name: str, wanted: Callable[[], bool]) -> None:
        """Run a thread of the line: errors are counted and reported, and it continues while wanted."""
        while not self._stopped.is_set() and wanted():
            try:
                work()
            except Exception as exc:  # noqa: BLE001, PERF203 (nothing may stop the line)
                self._note_failure(name, exc)

    def _note_failure(self, where: str, exc: Exception) -> None:
        self.failures += 1
        self.last_failure = f"{where}: {sentence(exc)}"
        self._report("failure", {"where": where, "error": self.last_failure})

    def _shutter_thread(self) -> threading.Thread:
        """Create the thread that requests a frame for every part, or takes those the camera sends."""
        shutter, life = self._shutter, self._shutter.life

        def work() -> None:
            while self.setup.triggering == "camera" and not self._stopped.is_set():
                self._arrivals.take(self._stopping)
            shutter.work(self._stopped, life)

        return self._thread("shutter", work, lambda: shutter.life == life)

    def _replace_shutter(self) -> None:
        """Replace the shutter's thread, since the camera's library does not return from a request."""
        self._note_failure("shutter", TimeoutError("the camera's trigger does not return"))
        self._threads[-1] = replacing = self._shutter_thread()
        replacing.start()

    def _clock(self) -> None:
        """Decide every part that is late."""
        limit_ns = int(self.setup.timing.deadline_ms * 1e6)
        balanced = True
        while not self._stopped.wait(_CLOCK_S):
            for trigger in self.ledger.overdue(time.monotonic_ns() - limit_ns):
                self._fault(trigger, f"no verdict within {self.setup.timing.deadline_ms:g} ms")
            self._shutter.look_after(self._replace_shutter)
            balance = self.ledger.balance()
            if balanced and not balance.balanced:
                self._report("invariant", vars(balance))
            balanced = balance.balanced

    def _inspect(self) -> None:
        steps = {"external": self._next_external, "camera": self._next_arrived, "free": self._next_frame}
        step = steps[self.setup.triggering]
        while not self._stopped.is_set():
            self._turned_ns = time.monotonic_ns()
            step()

    def _next_external(self) -> None:
        """Process one trigger from the queue: find its frame and judge it."""
        try:
            trigger = self._waiting.get(timeout=_POLL_S)
        except Empty:
            return
        recipe = self.setup.recipes.take()
        if not self.ledger.is_open(trigger.number):
            return  # the clock was faster
        try:
            frame = self._pairing.frame_for(trigger)
        except CameraError as exc:
            self._fault(trigger, str(exc))
            return
        if isinstance(frame, str):
            self._fault(trigger, frame)
            if self._pairing.ended:
                self._stopping.set()
        else:
            self._judge(trigger, frame, recipe)

    def _next_frame(self) -> None:
        """Process one frame of a camera that itself decides when a part is in place."""
        if self._stopping.is_set() or self.paused.is_set():
            self._stopped.wait(_POLL_S)
            return
        recipe = self.setup.recipes.take()
        try:
            frame = self.setup.camera.read(_POLL_S)
        except CameraError as exc:
            self._fault(self._enter_frame(time.monotonic_ns()), str(exc))
            return
        if isinstance(frame, NoFrame):
            if frame is NoFrame.END:
                self._stopping.set()
            return
        self._judge(self._enter_frame(frame.latest_ns), frame, recipe)

    def _next_arrived(self) -> None:
        """Process one part that the camera delivered by itself."""
        try:
            trigger, frame = self._arrivals.queue.get(timeout=_POLL_S)
        except Empty:
            return
        recipe = self.setup.recipes.take()
        if self.ledger.is_open(trigger.number):
            self._judge(trigger, frame, recipe)

    def _enter_frame(self, at_ns: int) -> Trigger:
        age_s = (time.monotonic_ns() - at_ns) / 1e9
        return self.ledger.enter(at_ns, time.time() - age_s, None, "camera")

    def _following(self) -> Trigger | None:
        """Return the part that waits next."""
        with self._waiting.mutex:
            return self._waiting.queue[0] if self._waiting.queue else None

    def _given_up(self, trigger: Trigger) -> bool:
        return self._stopped.is_set() or not self.ledger.is_open(trigger.number)

    def _judge(self, trigger: Trigger, frame: Frame, recipe: Judge) -> None:
        if self.paused.is_set():
            self._fault(trigger, PAUSED, frame, recipe)
            return
        try:
            if frozen := self._pairing.repeated(frame, recipe.mode):
                self._fault(trigger, frozen, frame, recipe)
                return
            inspection = recipe.inspect(frame)
        except AstEdgeError as exc:
            self._fault(trigger, str(exc), frame, recipe)
            return
        except Exception as exc:  # noqa: BLE001 (whatever the engine does, the part gets its verdict)
            self._fault(trigger, f"the inspection failed: {sentence(exc)}", frame, recipe)
            return
        latency_ms, allowed_ms = (time.monotonic_ns() - trigger.at_ns) / 1e6, self.setup.timing.deadline_ms
        said = inspection.verdict, inspection.reason
        if latency_ms > allowed_ms:
            said = "fault", f"the verdict took {latency_ms:.0f} ms, {allowed_ms:g} ms are allowed"
        self._close(trigger, recipe, said, frame, inspection)

    def _fault(
        self,
        trigger: Trigger,
        reason: str,
        frame: Frame | None = None,
        recipe: Judge | None = None,
        inspection: Inspection | None = None,
    ) -> None:
        self._close(trigger, recipe or self.setup.recipes.current, ("fault", reason), frame, inspection)

    def _close(
        self,
        trigger: Trigger,
        recipe: Judge,
        said: tuple[Verdict, str],
        frame: Frame | None,
        inspection: Inspection | None,
    ) -> None:
        """Close the part with its verdict and reason, unless it was decided before."""
        self.ledger.decide(
            PartResult(
                run=self.setup.run,
                trigger=trigger,
                recipe=recipe.name,
                verdict=said[0],
                reason=said[1],
                score=inspection.score if inspection is not None else math.nan,
                threshold=recipe.threshold,
                latency_ms=(time.monotonic_ns() - trigger.at_ns) / 1e6,
                stages_ms=inspection.stages_ms if inspection is not None else {},
                frame=frame,
                inspection=inspection,
                spec=recipe.spec,
            )
        )

    def _deliver(self, result: PartResult) -> None:
        for output in self.setup.outputs:
            try:
                output.put(result)
            except Exception as exc:  # noqa: BLE001, PERF203 (no output may keep a result from another)
                self._note_failure(f"output {output.name}", exc)
