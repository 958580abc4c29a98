"""The one thread that owns a CUDA context; other threads submit calls to it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import Any, TypeVar

from ast_edge.errors import BackendError

_Result = TypeVar("_Result")
_Call = tuple[Callable[[], Any], "Future[Any]"]


class Owner:
    """Runs calls one after another on its own thread, inside the context manager that `enter` returns.

    The context is entered and left on that thread, and an error is raised in the caller.
    The constructor raises what entering raises. `close()` runs what was handed over before, then ends the
    thread; it may be called twice, but not from the thread itself.
    """

    def __init__(self, enter: Callable[[], AbstractContextManager[object]], name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        entered: Future[None] = Future()
        self._left: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(enter, entered), name=name, daemon=True)
        self._thread.start()
        # An interpreter that ends without `close()` neither waits forever nor removes the context during a
        # running call.
        weakref.finalize(self, _stop, self._calls, self._thread)
        entered.result()

    def submit(self, call: Callable[[], _Result]) -> Future[_Result]:
        """Submit `call`; its result or error is in the future. Raises BackendError after `close()`."""
        future: Future[_Result] = Future()
        with self._lock:
            if self._closed:
                raise BackendError("the engine was closed; open the model again.")
            self._calls.put((call, future))
        return future

    def call(self, call: Callable[[], _Result]) -> _Result:
        """Run `call` on the owner's thread and wait for it; its error is raised here."""
        if threading.current_thread() is self._thread:
            return call()
        return self.submit(call).result()

    def close(self) -> None:
        """End the thread after the submitted calls; raises the error of leaving the context."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._calls.put(None)
        self._thread.join()
        self._left.result()

    def _serve(self, enter: Callable[[], AbstractContextManager[object]], entered: Future[None]) -> None:
        try:
            context = enter()
            context.__enter__()
        except BaseException as exc:  # noqa: BLE001 (raised in the thread that made the owner)
            entered.set_exception(exc)
            self._left.set_result(None)
            return
        entered.set_result(None)
        while (handed := self._calls.get()) is not None:
            _run(*handed)
        try:
            context.__exit__(None, None, None)
        except BaseException as exc:  # noqa: BLE001 (raised in the thread that closes)
            self._left.set_exception(exc)
        else:
            self._left.set_result(None)


def _stop(calls: SimpleQueue[_Call | None], thread: threading.Thread) -> None:
    calls.put(None)
    thread.join()


def _run(call: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as exc:  # noqa: BLE001 (raised in the thread that asked)
        future.set_exception(exc)
    else:
        future.set_result(result)
