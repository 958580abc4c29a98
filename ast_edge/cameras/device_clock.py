"""Maps a camera's own clock to the host's: when a frame was exposed, however late it arrives.

Let `d` be the smallest `host - device` ever seen, where a frame stamped `device` by the camera arrived at
`host`. Then every stamp was made no later than `device + d`. The transit time of the fastest frame is not
contained in these numbers; requested frames provide it: one requested at `asked` was exposed after that.

Clocks drift apart by up to `_DRIFT`, so the smallest difference may grow at this rate and no faster: frames
that all arrive late because this machine is busy must not look like a slow clock. If no frame has been as
fast as that until it has grown by `_MOST_GROWN_NS`, it cannot be known which of the two it is, and the clock
must be measured again. So a delay that sets in makes the frames of a running camera look younger by at most
that, plus as much again if the clocks meanwhile drift the other way; one that grows more slowly than clocks
drift is not seen. A pause of a camera that waits for triggers counts for little: few frames prove nothing.
"""

from __future__ import annotations

_DRIFT = 200e-6  # two crystals, 100 ppm each
_LEAP_NS = 1_000_000_000
_MOST_GROWN_NS = 20_000_000
_PAUSE_NS = 10_000_000_000


class DeviceClock:
    """Maps time stamps of one camera to `time.monotonic_ns()` of the host. For one thread."""

    def __init__(self) -> None:
        self._least_ns: float | None = None  # host - device of the fastest frame
        self._grown_ns = 0.0  # since a frame was that fast
        self._seen_ns = 0
        self._under_way_ns: float | None = None  # upper bound, from exposure to arrival of the fastest frame

    @property
    def calibrated(self) -> bool:
        """Whether a requested frame has provided a bound for the transit time."""
        return self._under_way_ns is not None

    def learn(self, device_ns: int, asked_ns: int, host_ns: int) -> None:
        """Learn from a frame that was requested at `asked_ns` and arrived at `host_ns`."""
        self._follow(device_ns, host_ns)
        assert self._least_ns is not None  # noqa: S101 (just followed)
        at_most = self._least_ns - (asked_ns - device_ns)
        if self._under_way_ns is None or at_most < self._under_way_ns:
            self._under_way_ns = max(at_most, 0.0)

    def exposed(self, device_ns: int, host_ns: int) -> tuple[int | None, int]:
        """Return the earliest (None: unknown) and the latest time at which the exposure can have begun.

        Raises ValueError if what was learned is no longer valid: the clock jumped, or frames are slower.
        """
        self._follow(device_ns, host_ns)
        assert self._least_ns is not None  # noqa: S101 (just followed)
        latest = min(device_ns + int(self._least_ns), host_ns)
        if host_ns - latest > _LEAP_NS:
            raise ValueError("the camera's clock jumped, or its frames take over a second to arrive")
        return None if self._under_way_ns is None else latest - int(self._under_way_ns), latest

    def _follow(self, device_ns: int, host_ns: int) -> None:
        difference = float(host_ns - device_ns)
        if self._least_ns is None:
            self._least_ns = difference
        else:
            growth = _DRIFT * max(host_ns - self._seen_ns, 0)
            if self._least_ns - difference > _LEAP_NS:
                raise ValueError("the camera's clock jumped")
            proven = difference <= self._least_ns + growth
            self._grown_ns = 0.0 if proven else self._grown_ns + min(growth, _DRIFT * _PAUSE_NS)
            self._least_ns = min(difference, self._least_ns + growth)
            if self._grown_ns > _MOST_GROWN_NS:
                raise ValueError("its frames have become slower, so that their age is uncertain")
        self._seen_ns = max(host_ns, self._seen_ns)
