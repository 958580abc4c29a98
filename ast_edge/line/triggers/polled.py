"""Triggers from a PLC that is polled: its part counter or sensor bit, and its encoder.

Prefer a counter. It shows how many parts arrived, even if two arrived between two polls or the connection was
lost: all but the newest are then faults (when they were in place is unknown), and after a lost connection all
of them. With a bit, parts between two polls or while the connection is lost cannot be known; the bit must be
on for at least two polls.

A trigger's interval begins when the poll that showed it was sent, from which its deadline counts, and ends
when that poll was answered, after which its picture must be taken. The part may have arrived as early as the
previous poll was sent: at most `max_gap_ms` before the answer, or the part is missed, because it may have
left. The encoder is read in the same poll.

The station's own output reports to the PLC up to which part everything is judged: `judged` of its block, see
`ast_edge.line.outputs.block`. Where the trigger knows its place, the parts between it and the counter are
faults at the start: those in progress when the station was killed, and those that arrived while it was down.
So the PLC's count of parts equals its count of verdicts, whatever happened to the station. Parts that were
judged and on their way to the gate at that time are not among them: the PLC must guard its gate by the
heartbeat.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from typing_extensions import Self

from ast_edge.line.config.options import Name
from ast_edge.line.gate.belt import EncoderReading
from ast_edge.line.links.plc import PlcLink, PlcOptions
from ast_edge.line.triggers.counter import step
from ast_edge.line.triggers.freshness import GapMs, Moment, gap_allowed, too_long
from ast_edge.line.triggers.watched import WatchedTrigger

_ANSWERS = 200


class PolledOptions(PlcOptions):
    """A PLC that counts parts, or has a bit for them.

    `poll_ms`: the interval between polls. `most_missed`: a counter that advances by more than this was reset.
    `max_gap_ms`: maximum time from sending one poll to the answer of the next, by default 100 or three polls;
    together with `timing.picture_within_ms` it must be less than a part stays in front of the camera.
    `ast-edge run --check` measures the response time of the PLC.
    """

    name: Name
    poll_ms: Annotated[float, Field(ge=1, le=1000)] = 5.0
    max_gap_ms: GapMs | None = None
    most_missed: Annotated[int, Field(ge=1, le=30_000)] = 1000

    # The keys of a kind of PLC, of which one must be given: a counter, or bits; and where `judged` is.
    counter_key: ClassVar[str]
    bit_keys: ClassVar[tuple[str, ...]]
    judged_key: ClassVar[str]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        keys = (self.counter_key, *self.bit_keys)
        if sum(getattr(self, key) is not None for key in keys) != 1:
            raise ValueError(f"give one of {', '.join(keys)}")
        if self.judged_place is not None and not self.counts:
            raise ValueError(
                f"{self.judged_key} requires {self.counter_key}: only a counter shows missing parts"
            )
        if self.gap_ms <= self.poll_ms:
            raise ValueError(
                f"max_gap_ms = {self.gap_ms:g} is not above poll_ms = {self.poll_ms:g}: no part would be seen"
            )
        return self

    @property
    def counts(self) -> bool:
        """Whether the source is a counter."""
        return getattr(self, self.counter_key) is not None

    @property
    def counter_size(self) -> int:
        """The bits of the counter."""
        raise NotImplementedError

    @property
    def judged_place(self) -> object:
        """Where the station's output writes `judged`; None if the trigger does not read it."""
        return getattr(self, self.judged_key)

    @property
    def gap_ms(self) -> float:
        """The longest gap between two polls, in milliseconds."""
        return gap_allowed(self.max_gap_ms, self.poll_ms)


@dataclass(frozen=True)
class Poll:
    """What one poll found: a bit or a counter, and the encoder, whose value is of `encoder_ns`."""

    bit: bool | None
    counter: int | None
    encoder: int | None
    encoder_ns: int


class PolledTrigger(WatchedTrigger):
    """Polls the PLC on its own thread; also the encoder for a reject gate (`position`)."""

    def __init__(self, options: PolledOptions, link: PlcLink) -> None:
        super().__init__(options.name)
        self._polled = options
        self._plc = link
        self._counter: int | None = None
        self._bit: bool | None = None
        self._due = 0.0
        self.answers_ms: deque[float] = deque(maxlen=_ANSWERS)  # how long the last polls took
        self._sent_ns = 0  # when the last poll was sent
        self._late = ""  # why parts of this poll were seen too late; empty if they were not

    # ---- what a kind of PLC does, on the trigger's own thread ----------------------------------------------

    @abstractmethod
    def _poll(self, sent_ns: int) -> Poll:
        """Ask the PLC; `sent_ns` is now."""

    @abstractmethod
    def _read_judged(self) -> int:
        """Return the number of the part up to which parts have verdicts; only where its place is given."""

    # ---- WatchedTrigger ------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._plc.open()
        self._due = time.monotonic()

    def _disconnect(self) -> None:
        self._plc.close()

    def _rest(self) -> None:
        # Skipped polls are not made up for: only the next one matters.
        self._due = max(self._due + self._polled.poll_ms / 1000, time.monotonic())
        self._closing.wait(self._due - time.monotonic())

    def _unknown(self) -> str:
        return "" if self._polled.counts else "parts before this connection: a bit does not count"

    def _look(self) -> None:
        """Poll once and report the triggers found."""
        before_ns, sent_ns = self._sent_ns, time.monotonic_ns()
        self._sent_ns = sent_ns
        found = self._poll(sent_ns)
        moment = Moment(sent_ns, time.monotonic_ns())
        self.answers_ms.append((moment.until_ns - sent_ns) / 1e6)
        self._late = "" if self._fresh else too_long(before_ns, moment.until_ns, self._polled.gap_ms)
        if found.encoder is not None:
            self._reading = EncoderReading(found.encoder, found.encoder_ns)
        if found.counter is not None:
            self._counted(found.counter, moment, found.encoder)
        if found.bit is not None:
            self._switched(moment, found.encoder, now=found.bit)

    def _counted(self, now: int, moment: Moment, encoder: int | None) -> None:
        before = self._judged() if self._counter is None else self._counter
        self._counter = now
        if before is None:
            return
        found = step(before, now, bits=self._polled.counter_size, most=self._polled.most_missed)
        ids = [str(value) for value in found.ids]
        if found.why:
            self._uncounted(found.why)
        seen = bool(ids) and not self._fresh and not found.why and not self._late
        unseen = ids[:-1] if seen else ids
        self._miss(len(unseen), unseen, found.why or (self._late if unseen else ""))
        if seen:
            self._give(moment.at_ns, until_ns=moment.until_ns, encoder=encoder, external_id=ids[-1])

    def _judged(self) -> int | None:
        """Return the counter's value up to which parts have verdicts; None where that is not known."""
        if self._polled.judged_place is None:
            return None
        return self._read_judged() % (1 << self._polled.counter_size)

    def _switched(self, moment: Moment, encoder: int | None, *, now: bool) -> None:
        before, self._bit = self._bit, now
        arrived = before is False and now
        if self._late:
            # Parts in between are unknown; that the bit went on is certainly a part.
            self._miss(int(arrived), why=self._late)
            self._uncounted(f"{self._late}; a bit does not show how many parts arrived")
            return
        if not arrived:
            return
        if self._fresh:
            # It was off before the connection broke and is on now: at least one part passed unseen.
            self._miss(1, why="the sensor's bit went on while there was no connection")
        else:
            self._give(moment.at_ns, until_ns=moment.until_ns, encoder=encoder)
