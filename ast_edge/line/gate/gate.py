"""The reject gate downstream of the camera: which coil state when, so that the right part is taken out.

Pure: time and encoder come from outside, and whoever owns the coil says when it was written. A reject and a
fault actuate the gate, a pass never does. Rules:

- Without delay the gate fires when the verdict comes; with `delay_ms` that long after the trigger; with
  `delay_counts` when the encoder has counted that far since the part's trigger.
- A pulse lasts `pulse_ms` from the moment at which the coil was seen to be on. A part that is due while it is
  on is written again and prolongs the pulse: every part that fired is covered by one interval of the coil.
- A part whose moment is over by more than `late_ms` or `late_counts` is missed: it is counted and told, and
  never fired, because what lies before the gate by then is another part.
- A part whose way cannot be measured (no encoder count, a trigger that nobody saw, an encoder that cannot be
  read or does not count) fires at once, and is counted as untimed.
- While the conveyor stands or runs back a little, parts wait. When positions lost their meaning (the encoder
  jumped, ran back further than the gate is away, or was not read for too long) the parts on their way are
  missed.
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
# A part may be anywhere between camera and gate, and a look back must still be told from a look ahead.
_SHARE_OF_RANGE = 4


class GateOptions(Options):
    """How far the gate is and how long it pushes.

    `pulse_ms`: at least this long the coil is on. `delay_ms`: from trigger to gate; without it and without
    `delay_counts` the gate fires when the verdict comes. `delay_counts`: the encoder's counts from trigger to
    gate, with `encoder_bits` the width after which it begins at 0 again. `late_ms`, `late_counts`: how long
    or how far after its moment a part can still be hit, half its length for example.
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
                f"delay_counts and late_counts reach over a quarter of the encoder's {self.encoder_bits} bits"
            )
        return self


@dataclass(frozen=True)
class Fate:
    """What became of a part that had to be actuated; `why` it fired at once or never, else empty."""

    number: int
    fired: bool
    at_ns: int
    why: str = ""


@dataclass(frozen=True)
class GateCounts:
    """Parts that fired, that were missed, and that wait; `untimed` of those that fired or wait."""

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
    """For one owner of a coil; not for several threads at once. All times are `time.monotonic_ns()`."""

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
        """A verdict is there."""
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
        """What the coil must be made now; None when it is right as it is."""
        self._look(reading, now_ns)
        self._expire(now_ns)
        self._due = [entry for entry in self._waiting if self._is_due(entry, now_ns)]
        if self._due:
            # Also while the coil is on: a part has fired when somebody has seen it to be on at its moment.
            return True
        wanted = now_ns < self._until_ns
        return None if wanted == self._on else wanted

    def written(self, at_ns: int, *, on: bool) -> None:
        """The coil is now seen to be so."""
        self._on = on
        if on:
            self._cover(at_ns)

    def lost(self) -> None:
        """Nobody knows any more how the coil is: the connection is gone, or a write failed."""
        self._on, self._due = None, []

    def next_ns(self, now_ns: int) -> int | None:
        """When `step` must be asked again at the latest; None when only a verdict changes anything."""
        if self._on is None:
            return now_ns
        times = [entry.due_ns for entry in self._waiting if entry.due_ns is not None]
        if any(entry.place is not None for entry in self._waiting):
            times.append(now_ns + ENCODER_POLL_NS)
        if self._on:
            times.append(self._until_ns)
        return min(times, default=None)

    def give_up(self, now_ns: int) -> None:
        """The end: what still waits is missed."""
        self._miss(list(self._waiting), now_ns, "the station stopped before the part was at the gate")

    @property
    def is_on(self) -> bool:
        """Whether the coil was last seen to be on."""
        return self._on is True

    @property
    def active(self) -> bool:
        """Whether a part waits or a pulse is not over."""
        return bool(self._waiting) or self._on is True

    @property
    def counts(self) -> GateCounts:
        """Since the beginning."""
        return GateCounts(self._fired, self._missed, self._untimed, len(self._waiting))

    def fates(self) -> list[Fate]:
        """What became of parts since the last call, at most the newest thousand."""
        fates = list(self._fates)
        self._fates.clear()
        return fates

    def trouble(self, now_ns: int) -> str:
        """What is wrong with the encoder; empty when nothing is. Standing still is wrong while parts wait."""
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
        """Take the encoder's reading; where positions lost their meaning, so have the parts' places."""
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
        self._miss(late, now_ns, "its moment at the gate was over")

    def _is_late(self, entry: _Waiting, now_ns: int) -> bool:
        if entry.place is not None:
            return self._belt.position > entry.place + (self._options.late_counts or 0)
        return entry.due_ns is not None and now_ns > entry.due_ns + self._options.late_ms * _NS

    def _cover(self, at_ns: int) -> None:
        """The coil is on at this moment: the parts that are due have fired."""
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
