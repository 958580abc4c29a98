"""The block in which a station reports to a PLC: its fields in order, the same for every kind of PLC."""

from __future__ import annotations

from dataclasses import dataclass

BITS = 16  # of a word


@dataclass(frozen=True)
class Field:
    """One value: its name, its place and size in words of 16 bits, and its meaning for the PLC's programmer.

    `signed`: a negative value is possible. `flags`: its bits count, not its value. `own_order`: it takes two
    registers with the high word first even where other values have the low word first.
    """

    name: str
    at: int
    words: int
    meaning: str
    signed: bool = False
    flags: bool = False
    own_order: bool = False

    @property
    def end(self) -> int:
        """The word after it."""
        return self.at + self.words

    def wrapped(self, value: int) -> int:
        """Return `value` modulo its size: negative values as two's complement."""
        return value % (1 << self.words * BITS)


# Places are never changed: PLC programs rely on them.
FIELDS = (
    Field(
        "id",
        0,
        2,
        "the number that the trigger's source gave to the part, else the part's number in this run",
    ),
    Field("verdict", 2, 1, "1 pass, 2 reject, 3 fault"),
    Field("reason", 3, 1, "0 but for a fault, see the reason codes"),
    Field(
        "score",
        4,
        2,
        "score times `score_scale`, signed, saturated at +-2147483647; -2147483648 where there is no score",
        signed=True,
    ),
    Field("passed", 6, 2, "counter of passes (OK) among the parts up to `judged`, modulo 2^32"),
    Field("rejected", 8, 2, "counter of rejects (NG), likewise"),
    Field("faults", 10, 2, "counter of faults, likewise"),
    Field(
        "judged",
        12,
        2,
        "the id of the last part before which every part has its verdict, as long as `gaps` is 0; only ids "
        "from the trigger's source count here, it stays as it is where the source gives none",
    ),
    Field(
        "sequence",
        14,
        2,
        "one more for every result; the last of a result, so that a PLC that waits for its change finds the "
        "rest complete",
    ),
    Field(
        "heartbeat",
        16,
        1,
        "one more every `heartbeat_ms` while the next part will be judged, also when none comes; it stands "
        "still while camera or trigger are away, the station is paused or hangs",
    ),
    Field(
        "state",
        17,
        1,
        "0 stopped, 1 starting, 2 running and all is well, 3 stopping, 4 paused, 5 running but the next part "
        "will not be judged, 6 running and judging but with an alarm, gaps, or an output that does not "
        "deliver",
    ),
    Field(
        "condition",
        18,
        1,
        "a bit each: 1 camera away, 2 trigger away, 4 something hangs, 8 the ledger does not balance, "
        "16 gaps, 32 too many faults, 64 too many rejects, 128 no rejects for long, 256 another output does "
        "not deliver: its counterpart is away or refuses results",
        flags=True,
    ),
    Field(
        "gaps",
        19,
        1,
        "how often an unknown number of parts went by unseen, a counter that jumped too far, say: `judged` "
        "and the counters are not whole since. It stays, over restarts of the station too, until the PLC "
        "sets it to 0, and again if it does not stay so: a heartbeat may be on its way",
    ),
    Field("station", 20, 2, "the station's id, 0 while no station runs", own_order=True),
    Field(
        "life",
        22,
        1,
        "one more every `heartbeat_ms`, and at least every half second, ready or not, by which another "
        "station sees that the block is taken",
    ),
)
WORDS = FIELDS[-1].end
RESULT, STATE, CONDITION, CLAIM = FIELDS[:9], FIELDS[9:11], FIELDS[11:13], FIELDS[13:]
COUNTERS, GAPS = FIELDS[4:9], FIELDS[12]
JUDGED = FIELDS[7]


def length(fields: tuple[Field, ...]) -> int:
    """Return the number of words of adjoining fields."""
    return fields[-1].end - fields[0].at
