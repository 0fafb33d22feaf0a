"""Threads that belong to one layer, so that a layer that hangs holds up nothing but itself."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """A few threads with a queue. Daemons, because a check that never returns must not keep the process alive; started
    with the first task, so that a stack that is only built costs nothing."""

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._threads = name, threads
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = False

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run the work on one of the threads; a future that is cancelled before it began never runs."""
        with self._lock:
            if not self._started:
                self._started = True
                for number in range(self._threads):
                    threading.Thread(target=self._loop, name=f"{self._name}-{number}", daemon=True).start()
        future: Future[T] = Future()
        self._tasks.put((future, work))
        return future

    def _loop(self) -> None:
        while True:
            future, work = self._tasks.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
