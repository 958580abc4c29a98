"""Workers that take turns: each network in a process of its own, only one of which runs at any moment.

Those that wait are stopped by the kernel (SIGSTOP), so that no engine's spinning threads take time from
another.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from benchmarks.common.command import environment, module
from benchmarks.peers.cards import Card, Engine

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
Answer = dict[str, object]


class WorkerFailedError(Exception):
    """A worker ended; its last words say why."""


@dataclass
class Runner:
    """One network in one engine: its process, and the milliseconds of its pictures."""

    card: Card
    engine: Engine
    model: Path
    log: Path
    process: subprocess.Popen[str] | None = None
    about: Answer = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    reason: str = ""

    def start(self, python: Path, pictures: Path, threads: int) -> None:
        """Load and warm up, then stop until asked; `reason` says why it could not."""
        words = [*module("peers.worker", python), self.engine, self.model, pictures, threads]
        variables = environment(OMP_NUM_THREADS=str(threads), PYTHONWARNINGS="ignore")
        with self.log.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=variables,
            )
        try:
            self.about = self._heard()
        except WorkerFailedError as exc:
            self.reason = str(exc)
        self._pause()

    @property
    def runs(self) -> bool:
        """Whether it loaded and has not failed since."""
        return not self.reason and self.process is not None

    @property
    def whole(self) -> bool:
        """Whether it ran to the end: half of the rounds would be no fair figure."""
        return not self.reason and bool(self.scores)

    def turn(self, pictures: Sequence[int]) -> None:
        """Wake up, run all `pictures`, of which the first warms the caches and is not counted, and stop
        again."""
        with self._awake():
            times = [self._asked(str(picture))["ms"] for picture in pictures]
            self.times_ms += [float(str(ms)) for ms in times[1:]]

    def finish(self) -> None:
        """Ask for the scores and the memory, and end the process."""
        with self._awake():
            answer = self._asked("answer")
            scores = answer.pop("scores")
            assert isinstance(scores, list)  # noqa: S101  # our own worker's
            self.scores = [float(score) for score in scores]
            self.about |= answer
        self.close()

    def close(self) -> None:
        """End the process, however it stands."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    @contextmanager
    def _awake(self) -> Iterator[None]:
        assert self.process is not None  # noqa: S101  # only those that run get a turn
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        except WorkerFailedError as exc:
            self.reason = str(exc)
        self._pause()

    def _pause(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)

    def _asked(self, word: str) -> Answer:
        assert self.process is not None  # noqa: S101
        assert self.process.stdin is not None  # noqa: S101
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerFailedError(self._last_words()) from None
        return self._heard()

    def _heard(self) -> Answer:
        assert self.process is not None  # noqa: S101
        assert self.process.stdout is not None  # noqa: S101
        line = self.process.stdout.readline()
        if not line:
            raise WorkerFailedError(self._last_words())
        answer: Answer = json.loads(line)
        return answer

    def _last_words(self) -> str:
        assert self.process is not None  # noqa: S101
        code = self.process.wait()
        words = [line.strip() for line in self.log.read_text(encoding="utf-8").splitlines() if line.strip()]
        return f"{words[-1][:300] if words else 'it said nothing'} (exit code {code})"


class Race:
    """All runners, in rounds of random order. Use as a context: no process outlives it."""

    def __init__(self, runners: Sequence[Runner], *, pictures: int, pause_s: float) -> None:
        self.runners, self._pictures, self._pause_s = runners, pictures, pause_s
        self.foreign_cores: float | None = None

    def __enter__(self) -> Race:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for runner in self.runners:
            runner.close()

    def run(self, rounds: int, timed: int) -> None:
        """Give everyone `rounds` turns of `timed` pictures, and say what others took of the machine
        meanwhile."""
        order, rng = list(self.runners), random.Random(0)  # noqa: S311  # an order, not a secret
        before, started = self._foreign_s(), time.monotonic()
        for turn in range(rounds):
            rng.shuffle(order)
            pictures = [(turn * timed + index) % self._pictures for index in range(timed + 1)]
            for runner in order:
                if runner.runs:
                    time.sleep(self._pause_s)
                    runner.turn(pictures)
            sys.stderr.write(f"\rround {turn + 1} of {rounds}")
        sys.stderr.write("\n")
        elapsed = time.monotonic() - started
        self.foreign_cores = round((self._foreign_s() - before) / elapsed, 3)
        for runner in self.runners:
            if runner.runs:
                runner.finish()

    def _foreign_s(self) -> float:
        """Seconds of processor time that went to others than these workers and this process."""
        busy = [
            int(word) for word in Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:]
        ]
        user, nice, system, _, _, irq, softirq, steal = busy[:8]
        own = [runner.process.pid for runner in self.runners if runner.process is not None]
        return (user + nice + system + irq + softirq + steal) / TICKS_PER_S - sum(
            map(_used_s, [os.getpid(), *own])
        )


def _used_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
