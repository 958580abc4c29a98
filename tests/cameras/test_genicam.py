"""What GenICam cameras share: the camera's own count of frames."""

from __future__ import annotations

import pytest

from ast_edge.cameras.genicam import frames_between


@pytest.mark.parametrize(
    ("last", "now", "lost"),
    [
        (0, 1, 0),
        (1, 4, 2),
        (65_535, 1, 0),  # 0 is skipped
        (65_534, 3, 3),
        (65_535, 65_536, 0),  # extended ids
        (1 << 40, (1 << 40) + 5, 4),
        (7, 7, 0),
        (7, 1, 0),  # the camera began again
        (1 << 40, 1, 0),
    ],
)
def test_lost_frames_are_counted_over_the_wrap(last: int, now: int, lost: int) -> None:
    assert frames_between(last, now) == lost
