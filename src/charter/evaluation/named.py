"""A model that is known by name and content, and loaded only when it has to say something new."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from charter.models.completions import CompletionCache, completion_cache
from charter.models.loading import load_model, named_digest
from charter.records import Completion, Conversation, Sampling

if TYPE_CHECKING:
    from charter.models.generation.worker import BatchWorker
    from charter.models.loading import LocalModel


class NamedModel:
    """A model of this machine, with the completions it gave before. `asked` counts what it had to be asked.

    Raises UserError when the name is no model.
    """

    def __init__(self, name: str, *, cached: bool = True) -> None:
        self.name = name
        self.digest = named_digest(name)
        self.cache: CompletionCache | None = completion_cache(name) if cached else None
        self.asked = 0
        self._loaded: LocalModel | None = None
        self._lock = threading.Lock()

    def load(self) -> LocalModel:
        """The model itself. Raises UserError when it cannot be loaded."""
        with self._lock:
            if self._loaded is None:
                self._loaded = load_model(self.name)
            return self._loaded

    def knows(self, prompt: Conversation, sampling: Sampling) -> bool:
        """Whether the answer is kept."""
        return self.cache is not None and self.cache.get(prompt, sampling) is not None


class RememberingWorker:
    """Answers what is kept at once, and has the model asked for the rest; what it says is kept."""

    def __init__(self, model: NamedModel) -> None:
        self._model = model
        self._worker: BatchWorker | None = None
        self._lock = threading.Lock()

    def submit(self, prompt: Conversation, sampling: Sampling) -> Future[list[Completion]]:
        """The completions of one prompt, now or later."""
        cache = self._model.cache
        kept = cache.get(prompt, sampling) if cache is not None else None
        if kept is not None:
            known: Future[list[Completion]] = Future()
            known.set_result(kept)
            return known
        self._model.asked += 1
        future = self._asking().submit(prompt, sampling)
        if cache is not None:

            def keep(done: Future[list[Completion]]) -> None:
                if not done.cancelled() and done.exception() is None:
                    cache.put(prompt, sampling, done.result())

            future.add_done_callback(keep)
        return future

    def close(self, *, wait: bool = True) -> None:
        """End the worker behind it, if there is one."""
        with self._lock:
            if self._worker is not None:
                self._worker.close(wait=wait)
                self._worker = None

    def _asking(self) -> BatchWorker:
        from charter.models.generation.worker import BatchWorker

        with self._lock:
            if self._worker is None:
                self._worker = BatchWorker(self._model.load())
            return self._worker
