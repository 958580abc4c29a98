"""Where a camera's own clock stands on the host's: when a frame was exposed, however late it arrives.

A frame that arrives at `host` and was stamped `device` by the camera took at least the least `host - device`
ever seen, so its stamp was made no later than `device` plus that. How long the fastest frame was under way is
not in these numbers. Frames that were asked for tell: one asked for at `asked` was exposed after that.

Clocks drift apart by up to `_DRIFT`, so the least difference may grow by so much and no faster: frames that
all come late because this machine is busy must not look like a clock that runs slow.
"""

from __future__ import annotations

_DRIFT = 200e-6  # two crystals, 100 ppm each
_LEAP_NS = 1_000_000_000


class DeviceClock:
    """Maps stamps of one camera; times of the host are `time.monotonic_ns()`. For one thread."""

    def __init__(self) -> None:
        self._least_ns: float | None = None  # host - device of the fastest frame
        self._seen_ns = 0
        self._under_way_ns: float | None = None  # from exposure to arrival of the fastest frame, at most

    @property
    def calibrated(self) -> bool:
        """Whether a frame that was asked for has told how long frames are under way."""
        return self._under_way_ns is not None

    def learn(self, device_ns: int, asked_ns: int, host_ns: int) -> None:
        """A frame that was asked for at `asked_ns` arrived at `host_ns`."""
        self._follow(device_ns, host_ns)
        assert self._least_ns is not None  # noqa: S101 (just followed)
        at_most = self._least_ns - (asked_ns - device_ns)
        if self._under_way_ns is None or at_most < self._under_way_ns:
            self._under_way_ns = max(at_most, 0.0)

    def exposed(self, device_ns: int, host_ns: int) -> tuple[int | None, int]:
        """When the exposure began: no earlier than the first (None: unknown), no later than the second.

        Raises ValueError where the camera's clock has leapt, so that what was learned is worth nothing.
        """
        self._follow(device_ns, host_ns)
        assert self._least_ns is not None  # noqa: S101 (just followed)
        latest = min(device_ns + int(self._least_ns), host_ns)
        if host_ns - latest > _LEAP_NS:
            raise ValueError("the camera's clock has leapt, or its frames are over a second under way")
        return None if self._under_way_ns is None else latest - int(self._under_way_ns), latest

    def _follow(self, device_ns: int, host_ns: int) -> None:
        difference = float(host_ns - device_ns)
        if self._least_ns is None:
            self._least_ns = difference
        else:
            grown = self._least_ns + _DRIFT * max(host_ns - self._seen_ns, 0)
            if self._least_ns - difference > _LEAP_NS:
                raise ValueError("the camera's clock has leapt")
            self._least_ns = min(difference, grown)
        self._seen_ns = max(host_ns, self._seen_ns)
