"""Threads for slow work, beside the loop that serves the page."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from queue import Full, Queue
from typing import TypeVar

_MOST_WAITING = 64
_Found = TypeVar("_Found")


class Workers:
    """A few daemon threads. Work that hangs for good blocks neither the loop nor the end of the process.

    (Threads of `concurrent.futures` are joined when the process ends, however long that takes.)
    """

    def __init__(self, count: int) -> None:
        self._jobs: Queue[Callable[[], None] | None] = Queue(_MOST_WAITING)
        self._threads = [
            threading.Thread(target=self._work, name=f"ast-edge-web-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[], _Found], within_s: float) -> _Found:
        """Run `work` on one of the threads and return its result or raise its exception.

        Raises TimeoutError if it does not return in time; it then continues unattended. Raises it at once if
        every thread is stuck and too much work is waiting.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Found] = loop.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                found = work()
            except Exception as exc:  # noqa: BLE001 (raised again where it is waited for)
                _post(loop, _failed, future, exc)
            else:
                _post(loop, _done, future, found)

        try:
            self._jobs.put_nowait(job)
        except Full as exc:
            raise TimeoutError("every thread is busy") from exc
        try:
            return await asyncio.wait_for(future, within_s)
        except asyncio.TimeoutError as exc:
            raise TimeoutError(f"no answer within {within_s:g} s") from exc

    def close(self, timeout_s: float) -> None:
        """End the threads that are not stuck; a second call does nothing."""
        threads, self._threads = self._threads, []
        end = time.monotonic() + timeout_s
        for _ in threads:
            with contextlib.suppress(Full):
                self._jobs.put_nowait(None)
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(end - time.monotonic(), 0.0))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended in the meantime
        loop.call_soon_threadsafe(call, *arguments)


def _done(future: asyncio.Future[_Found], found: _Found) -> None:
    if not future.done():
        future.set_result(found)


def _failed(future: asyncio.Future[_Found], exc: Exception) -> None:
    if not future.done():
        future.set_exception(exc)
