"""Workers that take requests one at a time and answer them in batches of their own making."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from charter.ports import TextModel
from charter.records import Completion, Conversation, Sampling

if TYPE_CHECKING:
    from charter.models.loading import LocalModel

_GATHER_SECONDS = 0.02
_GATHER_ROWS = 256


class Answerer(Protocol):
    """Takes requests one at a time, answers them in batches of its own making, on its own thread."""

    def submit(self, prompt: Conversation, sampling: Sampling) -> Future[list[Completion]]: ...

    def close(self, *, wait: bool = True) -> None: ...


class GatheringWorker:
    """Batches single requests for a TextModel: what has arrived within 20 ms, up to 256, goes out in one call."""

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self._queue: queue.Queue[tuple[Conversation, Sampling, Future[list[Completion]]] | None] = queue.Queue()
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name="charter-gather", daemon=True)
        self._thread.start()

    def submit(self, prompt: Conversation, sampling: Sampling) -> Future[list[Completion]]:
        """The completions of one prompt, later."""
        future: Future[list[Completion]] = Future()
        self._queue.put((prompt, sampling, future))
        return future

    def close(self, *, wait: bool = True) -> None:
        """Finish what was submitted (wait=True) or cancel what has not gone out yet; end the thread."""
        self._dropping = not wait
        self._queue.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            item = self._queue.get()
            batch = []
            deadline = time.monotonic() + _GATHER_SECONDS
            while item is not None:
                if self._dropping:
                    item[2].cancel()
                elif item[2].set_running_or_notify_cancel():
                    batch.append(item)
                if len(batch) == _GATHER_ROWS:
                    break
                try:
                    item = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
            open_ = item is not None
            for sampling in dict.fromkeys(sampling for _, sampling, _ in batch):
                self._answer([(prompt, future) for prompt, s, future in batch if s == sampling], sampling)

    def _answer(self, rows: Sequence[tuple[Conversation, Future[list[Completion]]]], sampling: Sampling) -> None:
        try:
            answers = self._model.generate([prompt for prompt, _ in rows], sampling)
            for (_, future), completions in zip(rows, answers, strict=True):
                future.set_result(completions)
        except BaseException as error:  # the waiting side must hear of it, whatever it is
            for _, future in rows:
                if not future.done():
                    future.set_exception(error)


def answerer_for(model: LocalModel | TextModel) -> Answerer:
    """A worker for a model: the batching engine for weights in this process, gathered calls for anything else."""
    from charter.models.generation.local import LocalTextModel
    from charter.models.loading import LocalModel

    if isinstance(model, LocalTextModel):
        model = model.local
    if isinstance(model, LocalModel):
        from charter.models.generation.worker import BatchWorker

        return BatchWorker(model)
    return GatheringWorker(model)
