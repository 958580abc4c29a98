"""Progress of long jobs: a bar with loss and remaining time on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ast_edge.wording import escaped

_SECONDS_BETWEEN_LINES = 10.0


class Stage:
    """Count and display the steps of one stage."""

    def __init__(self, name: str, total: int | None, bar: Progress | None, console: Console) -> None:
        self._name, self._total, self._bar, self._console = name, total, bar, console
        self._task = bar.add_task(name, total=total, note="") if bar else None
        self._done = self._found = 0
        self._shown_at = self._started = time.monotonic()

    def resume_at(self, steps: int) -> None:
        """Count `steps` as done earlier, by a run that is continued: they say nothing about the pace."""
        self._found = steps
        self.advance(steps)

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more as done; `note`, for example the loss, is shown next to them."""
        self._done += steps
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self._done, note=note)
            return
        now = time.monotonic()
        if now - self._shown_at > _SECONDS_BETWEEN_LINES or self._done == self._total:
            self._shown_at = now
            count = self._done if self._total is None else f"{self._done}/{self._total}"
            said = f"{self._name}: {count} {note}".rstrip()
            self._console.print(f"{said}{self._left(now)}", highlight=False)

    def say(self, sentence: str) -> None:
        """Tell the user something between the lines, or above the bar."""
        self._console.print(escaped(sentence), highlight=False, markup=False, soft_wrap=True)

    def _left(self, now: float) -> str:
        """How long the rest will take at the pace so far; nothing at the end, or before there is a pace."""
        if self._total is None:
            return ""
        done, rest = self._done - self._found, self._total - self._done
        if done <= 0 or rest <= 0:
            return ""
        return f", about {duration_text(rest * (now - self._started) / done)} left"


def duration_text(seconds: float) -> str:
    """A length of time as a person says it: 40 s, 7 min, 2.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def say(sentence: str) -> None:
    """Tell the user something on stderr, where the stages are shown."""
    Console(stderr=True, soft_wrap=True).print(escaped(sentence), highlight=False, markup=False)


@contextlib.contextmanager
def stage(name: str, total: int | None) -> Iterator[Stage]:
    """Display a stage of `total` steps, None if their number is open, on stderr while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Stage(name, total, None, console)
        return
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Stage(name, total, bar, console)
