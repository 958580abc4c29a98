"""The reject gate downstream of the camera: when the coil must be on, so that the right part is removed.

Pure: time and encoder readings are passed in, and the owner of the coil reports when it was written. A reject
and a fault actuate the gate, a pass never does. Rules:

- Without delay the gate fires on the verdict; with `delay_ms` that long after the trigger; with
  `delay_counts` when the encoder has counted that far since the part's trigger.
- A pulse lasts `pulse_ms` from the moment at which the coil was seen to be on. A part due while the coil is
  on writes it again and prolongs the pulse: every part that fired is covered by one interval of the coil.
- A part that is late by more than `late_ms` or `late_counts` is missed: it is counted, reported and never
  fired, because another part is in front of the gate by then.
- A part whose distance cannot be measured (no encoder count, an unseen trigger, an encoder that cannot be
  read or does not count) fires at once, and is counted as untimed.
- While the conveyor stands or moves back a little, parts wait. When positions become invalid (the encoder
  jumped, moved back further than the distance to the gate, or was not read for too long) the parts on their
  way are missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ast_edge.line.config.options import Milliseconds, Options
from ast_edge.line.gate.belt import Belt, EncoderReading
from ast_edge.line.part import Trigger
from ast_edge.verdict.scoring import Verdict

ACTUATING: tuple[Verdict, ...] = ("reject", "fault")
ENCODER_POLL_NS = 2_000_000
_MOST_WAITING = 1000
_MOST_FATES = 1000
_NS = 1_000_000
_Counts = Annotated[int, Field(ge=1, le=1 << 30)]
# A part may be anywhere between camera and gate, and differences back and ahead must stay distinguishable.
_SHARE_OF_RANGE = 4


class GateOptions(Options):
    """Distance to the gate and duration of its pulse.

    `pulse_ms`: the coil is on for at least this long. `delay_ms`: from trigger to gate; without it and
    without `delay_counts` the gate fires on the verdict. `delay_counts`: encoder counts from trigger to gate,
    where the encoder wraps at `encoder_bits`. `late_ms`, `late_counts`: by how much a part can be late and
    still be hit, for example half its length.
    """

    pulse_ms: Annotated[float, Field(ge=1, le=60_000)] = 50.0
    delay_ms: Milliseconds | None = None
    late_ms: Milliseconds = 50.0
    delay_counts: _Counts | None = None
    late_counts: _Counts | None = None
    encoder_bits: Literal[16, 32] = 32

    @model_validator(mode="after")
    def _fits(self) -> GateOptions:
        if self.delay_ms is not None and self.delay_counts is not None:
            raise ValueError("give delay_ms or delay_counts, not both")
        if (self.delay_counts is None) != (self.late_counts is None):
            raise ValueError(
                "delay_counts and late_counts (how far past the gate a part can still be hit) go together"
            )
        reach = (self.delay_counts or 0) + (self.late_counts or 0)
        if reach > (1 << self.encoder_bits) // _SHARE_OF_RANGE:
            raise ValueError(
                f"delay_counts and late_counts exceed a quarter of the encoder's {self.encoder_bits} bits"
            )
        return self


@dataclass(frozen=True)
class Fate:
    """The outcome for a part that had to be actuated; `why` it fired at once or never, else empty."""

    number: int
    fired: bool
    at_ns: int
    why: str = ""


@dataclass(frozen=True)
class GateCounts:
    """Parts fired, missed and waiting; `untimed` among those that fired or wait."""

    fired: int
    missed: int
    untimed: int
    waiting: int


@dataclass(frozen=True)
class _Waiting:
    number: int
    due_ns: int | None = None
    place: int | None = None
    why: str = ""


class Gate:
    """For one owner of a coil; not thread-safe. All times are `time.monotonic_ns()`."""

    def __init__(self, options: GateOptions, actuating: Collection[Verdict] = ACTUATING) -> None:
        self._options = options
        self._actuating = frozenset(actuating)
        self._belt = Belt(
            options.encoder_bits, tolerance=options.late_counts or 1, distance=options.delay_counts or 1
        )
        self._breaks = 0
        self._waiting: list[_Waiting] = []
        self._due: list[_Waiting] = []
        self._on: bool | None = None
        self._until_ns = 0
        self._fired = self._missed = self._untimed = 0
        self._fates: deque[Fate] = deque(maxlen=_MOST_FATES)

    def add(
        self, part: Trigger, verdict: Verdict, now_ns: int, reading: EncoderReading | None = None
    ) -> None:
        """Process a verdict."""
        if self._options.delay_counts is not None:
            if part.encoder is not None:
                self._belt.part(part.encoder, part.at_ns)
            self._look(reading, now_ns)
        if verdict not in self._actuating:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._miss(self._waiting[:1], now_ns, f"more than {_MOST_WAITING} parts wait for the gate")
        entry = self._timed(part, now_ns)
        self._untimed += bool(entry.why)
        self._waiting.append(entry)
        self._expire(now_ns)

    def step(self, now_ns: int, reading: EncoderReading | None = None) -> bool | None:
        """Return the state to write to the coil now; None if it is correct."""
        self._look(reading, now_ns)
        self._expire(now_ns)
        self._due = [entry for entry in self._waiting if self._is_due(entry, now_ns)]
        if self._due:
            # Also while the coil is on: a part has fired only when the coil was seen to be on at its moment.
            return True
        wanted = now_ns < self._until_ns
        return None if wanted == self._on else wanted

    def written(self, at_ns: int, *, on: bool) -> None:
        """Record that the coil is in this state."""
        self._on = on
        if on:
            self._cover(at_ns)

    def lost(self) -> None:
        """Record that the state of the coil is unknown: the connection is lost, or a write failed."""
        self._on, self._due = None, []

    def next_ns(self, now_ns: int) -> int | None:
        """Return when `step` must be called again at the latest; None if only a verdict changes anything."""
        if self._on is None:
            return now_ns
        times = [entry.due_ns for entry in self._waiting if entry.due_ns is not None]
        if any(entry.place is not None for entry in self._waiting):
            times.append(now_ns + ENCODER_POLL_NS)
        if self._on:
            times.append(self._until_ns)
        return min(times, default=None)

    def give_up(self, now_ns: int) -> None:
        """End: parts still waiting are missed."""
        self._miss(list(self._waiting), now_ns, "the station stopped before the part reached the gate")

    @property
    def is_on(self) -> bool:
        """Whether the coil was last seen on."""
        return self._on is True

    @property
    def active(self) -> bool:
        """Whether a part waits or a pulse is active."""
        return bool(self._waiting) or self._on is True

    @property
    def counts(self) -> GateCounts:
        """Return the counts since the start."""
        return GateCounts(self._fired, self._missed, self._untimed, len(self._waiting))

    def fates(self) -> list[Fate]:
        """Return the outcomes since the last call, at most the newest thousand."""
        fates = list(self._fates)
        self._fates.clear()
        return fates

    def trouble(self, now_ns: int) -> str:
        """Describe the encoder's problem; empty without one. Standing still is one while parts wait."""
        waiting = any(entry.place is not None for entry in self._waiting)
        state = self._belt.state(now_ns)
        if self._options.delay_counts is None or state == "moving" or (state == "still" and not waiting):
            return ""
        return f"the encoder is {state}"

    def _timed(self, part: Trigger, now_ns: int) -> _Waiting:
        options = self._options
        if options.delay_ms is not None:
            return _Waiting(part.number, part.at_ns + int(options.delay_ms * _NS))
        if options.delay_counts is None:
            return _Waiting(part.number, now_ns)
        if part.encoder is None:
            return _Waiting(part.number, now_ns, why="the part has no encoder count")
        if not self._belt.usable(now_ns):
            return _Waiting(part.number, now_ns, why=f"the encoder is {self._belt.state(now_ns)}")
        return _Waiting(part.number, place=self._belt.place(part.encoder) + options.delay_counts)

    def _look(self, reading: EncoderReading | None, now_ns: int) -> None:
        """Process the encoder's reading; when positions become invalid, so do those of the parts."""
        self._belt.read(reading)
        if self._belt.breaks != self._breaks:
            self._breaks = self._belt.breaks
            placed = [entry for entry in self._waiting if entry.place is not None]
            self._miss(placed, now_ns, self._belt.why)

    def _is_due(self, entry: _Waiting, now_ns: int) -> bool:
        if entry.place is not None:
            return self._belt.position >= entry.place
        return entry.due_ns is not None and now_ns >= entry.due_ns

    def _expire(self, now_ns: int) -> None:
        late = [entry for entry in self._waiting if self._is_late(entry, now_ns)]
        self._miss(late, now_ns, "it had passed the gate already")

    def _is_late(self, entry: _Waiting, now_ns: int) -> bool:
        if entry.place is not None:
            return self._belt.position > entry.place + (self._options.late_counts or 0)
        return entry.due_ns is not None and now_ns > entry.due_ns + self._options.late_ms * _NS

    def _cover(self, at_ns: int) -> None:
        """The coil is on at this moment: parts that are due have fired."""
        if self._due:
            self._until_ns = max(self._until_ns, at_ns + int(self._options.pulse_ms * _NS))
        for entry in self._due:
            self._fired += 1
            self._fates.append(Fate(entry.number, fired=True, at_ns=at_ns, why=entry.why))
        self._remove(self._due)
        self._due = []

    def _miss(self, entries: list[_Waiting], now_ns: int, why: str) -> None:
        for entry in entries:
            self._missed += 1
            self._untimed -= bool(entry.why)
            self._fates.append(Fate(entry.number, fired=False, at_ns=now_ns, why=why))
        self._remove(entries)

    def _remove(self, entries: list[_Waiting]) -> None:
        if entries:
            gone = {id(entry) for entry in entries}
            self._waiting = [entry for entry in self._waiting if id(entry) not in gone]
