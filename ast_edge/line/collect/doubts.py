"""What speaks against a collected picture: blur, saturation, duplicates, changing exposure, another size.

All but saturation are relative to the parts collected so far, since only they show what is usual here. White
pixels hold no texture, however usual they are.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Literal

import numpy as np

from ast_edge.line.collect.layout import parts_text
from ast_edge.line.collect.looks import Looks
from ast_edge.line.collect.record import CollectedPart

Kind = Literal["blur", "saturation", "duplicate", "exposure", "size"]

_FEWEST = 5  # parts before a median says what is usual
_BLURRED = 0.5  # of the usual sharpness for its contrast
_WHITE = 0.01  # share of white pixels
# Grey levels by which the cells of two pictures of one part differ at most: light that flickers a little, or
# noise of 2 grey levels in every pixel, of which the largest of 256 differences is 4.5 times the usual one.
_FLICKER, _NOISE = 0.5, 2.0 * 2**0.5 * 4.5
_JUMP, _DRIFT, _RECENT = 0.25, 0.1, 9
_COMPARED = 1000
_NAMED = 10


class Doubts:
    """Add the parts in order; the first of each kind returns a sentence, all are counted.

    `add_earlier` adds parts of an earlier run, whose own doubts were said then.
    """

    def __init__(self) -> None:
        self.parts: dict[Kind, list[int]] = defaultdict(list)
        self._sharpness: list[float] = []
        self._brightness: list[float] = []
        self._pictures: dict[str, str] = {}  # by the digest of its pixels
        self._cells: deque[tuple[str, np.ndarray[tuple[int], np.dtype[np.float32]]]] = deque(maxlen=_COMPARED)
        self._before: CollectedPart | None = None

    def add_earlier(self, part: CollectedPart) -> None:
        """Add a part of which only the line is known."""
        self._sharpness.append(_by_contrast(part.sharpness, part.grey_levels.contrast))
        self._brightness.append(part.grey_levels.brightness)
        self._pictures[part.sha256] = part.picture
        self._before = part

    def add(self, part: CollectedPart, looks: Looks) -> list[str]:
        """Add a part; return a sentence for each doubt that is the first of its kind."""
        said = []
        for kind, words in self._found(part, looks):
            if not self.parts[kind]:
                said.append(f"{part.picture}: {words}")
            self.parts[kind].append(part.number)
        self.add_earlier(part)
        self._cells.append((part.picture, looks.cells))
        return said

    def summary(self) -> list[tuple[Kind, str]]:
        """Return for each kind that occurred, how many parts it concerns and which."""
        return [(kind, _numbers_text(numbers)) for kind, numbers in self.parts.items() if numbers]

    def _found(self, part: CollectedPart, looks: Looks) -> Iterator[tuple[Kind, str]]:
        checks: dict[Kind, str] = {
            "blur": self._blur(looks),
            "saturation": _saturation(looks),
            "duplicate": self._duplicate(looks),
            "exposure": self._exposure(part, looks),
            "size": self._size(looks),
        }
        yield from ((kind, words) for kind, words in checks.items() if words)

    def _blur(self, looks: Looks) -> str:
        usual, sharpness = _usual(self._sharpness), _by_contrast(looks.sharpness, looks.contrast)
        if usual is None or sharpness >= _BLURRED * usual:
            return ""
        return (
            f"its sharpness is {sharpness / usual:.0%} of the usual one: is it blurred? Check focus, "
            "exposure time and vibration"
        )

    def _duplicate(self, looks: Looks) -> str:
        if (twin := self._pictures.get(looks.sha256)) is not None:
            return f"has the same pixels as {twin}: does the same part come again, or a recording start over?"
        same = max(_FLICKER, _NOISE * (looks.cells.size / (looks.width * looks.height)) ** 0.5)
        for picture, cells in reversed(self._cells):
            if float(np.max(np.abs(cells - looks.cells))) <= same:
                return f"looks like {picture}: does the same part lie before the camera?"
        return ""

    def _exposure(self, part: CollectedPart, looks: Looks) -> str:
        advice = "switch automatic exposure and gain off, keep other light out"
        if automatic := _automatic(part):
            return f"the camera sets its {automatic} itself: {advice}"
        if changed := _changed(self._before, part):
            return f"the camera's {changed} since the part before"
        usual = _usual(self._brightness)
        if usual is None or usual <= 0:
            return ""
        recent = median([*self._brightness[1 - _RECENT :], looks.brightness])
        if abs(looks.brightness / usual - 1) > _JUMP:
            return f"its brightness is {looks.brightness:.3g}, usual are {usual:.3g}: {advice}"
        if len(self._brightness) >= 2 * _RECENT and abs(recent / usual - 1) > _DRIFT:
            return f"the brightness went from {usual:.3g} to {recent:.3g} grey levels: {advice}"
        return ""

    def _size(self, looks: Looks) -> str:
        if self._before is None:
            return ""
        before = self._before.camera
        if (looks.width, looks.height) == (before.width, before.height):
            return ""
        return (
            f"is {looks.width}x{looks.height} pixels, the part before {before.width}x{before.height}: "
            "training takes one size, unless --mixed-sizes is given"
        )


def _usual(values: Sequence[float]) -> float | None:
    return median(values) if len(values) >= _FEWEST else None


def _by_contrast(sharpness: float, contrast: float) -> float:
    """Return the sharpness for a contrast of 1: less light lowers both, and is no blur."""
    return sharpness / max(contrast, 1.0) ** 2


def _saturation(looks: Looks) -> str:
    if looks.saturated <= _WHITE:
        return ""
    return (
        f"{looks.saturated:.1%} of its pixels are white (255): where that is the part and no backlight, a "
        "defect does not show there; shorten the exposure, or dim or diffuse the light"
    )


def _automatic(part: CollectedPart) -> str:
    """Return which of exposure and gain the camera reports to set itself; empty if neither."""
    modes = {name: part.camera.settings.get(f"{name}_auto", "off") for name in ("exposure", "gain")}
    return " and ".join(name for name, mode in modes.items() if str(mode).casefold() != "off")


def _changed(before: CollectedPart | None, part: CollectedPart) -> str:
    """Return which setting of the camera changed from part to part; empty if none."""
    if before is None:
        return ""
    old, new = before.camera.settings, part.camera.settings
    names = [name for name in new if name in old and old[name] != new[name]]
    return ", ".join(f"{name} went from {old[name]} to {new[name]}" for name in names)


def _numbers_text(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_NAMED])
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"{parts_text(len(numbers))}: {shown}{more}"
