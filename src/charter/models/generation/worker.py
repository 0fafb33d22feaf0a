"""One thread that owns an engine and serves many callers, admitting their requests between steps."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from charter.models.generation.local import LocalTextModel, Speaker
from charter.models.generation.types import EngineStats, Finished
from charter.records import Completion, Conversation, Sampling

if TYPE_CHECKING:
    from charter.models.loading import LocalModel

Answer = Future[list[Completion]]


@dataclass(slots=True, eq=False)
class _Job:
    prompt: Conversation
    sampling: Sampling
    future: Answer
    finished: list[Finished | None]
    prefill: str = ""


class BatchWorker:
    """Continuous batching for concurrent callers.

    `submit` may be called from any thread. While samples are in flight the model is in generation state (eval mode, our
    attention) and belongs to the worker: do not use it elsewhere until the futures are done.
    A future that is cancelled before its job is admitted is skipped. After `close`, pending futures have either
    answered or hold an error; `submit` raises RuntimeError.
    """

    def __init__(self, local: LocalModel | LocalTextModel, *, max_rows: int = 128) -> None:
        local = local.local if isinstance(local, LocalTextModel) else local
        self._speaker = Speaker(local.model, local.tokenizer)
        self._engine = self._speaker.engine(local.model, max_rows)
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._jobs: set[_Job] = set()
        self._thread = threading.Thread(target=self._serve, name="charter-batch-worker", daemon=True)
        self._thread.start()

    @property
    def stats(self) -> EngineStats:
        return self._engine.stats

    def submit(self, prompt: Conversation, sampling: Sampling, prefill: str = "") -> Answer:
        """A future of sampling.n completions, which begin with the prefill."""
        job = _Job(prompt, sampling, Future(), [None] * sampling.n, prefill)
        with self._lock:
            if self._closed:
                raise RuntimeError("the batch worker is closed")
            self._inbox.put(job)
        return job.future

    def close(self, *, wait: bool = True) -> None:
        """End the thread, after answering what was submitted or (wait=False) dropping it with an error."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._drop = not wait
                self._inbox.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(wait=kind is None)

    _drop = False

    def _serve(self) -> None:
        closing = False
        while not closing:
            job = self._inbox.get()  # nothing in flight: sleep until there is work
            closing = job is None
            if job is not None:
                closing = self._busy_until_idle(job)
        self._fail(RuntimeError("the batch worker was closed before this was answered"))

    def _busy_until_idle(self, first: _Job) -> bool:
        """Serve until nothing is in flight; whether the worker is to end."""
        closing = False
        try:
            with self._engine.attached():
                self._admit(first)
                while (self._engine.busy or not self._inbox.empty()) and not (closing and self._drop):
                    while not self._inbox.empty():
                        job = self._inbox.get()
                        closing = closing or job is None
                        if job is not None:
                            self._admit(job)
                    for finished in self._engine.step():
                        self._settle(finished)
        except BaseException as error:
            self._engine.clear()
            self._fail(error)
        return closing

    def _admit(self, job: _Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            for request in self._speaker.requests(job, job.prompt, job.sampling, job.prefill):
                self._engine.add(request)
        except Exception as error:
            job.future.set_exception(error)
        else:
            self._jobs.add(job)

    def _settle(self, finished: Finished) -> None:
        job, index = cast("tuple[_Job, int]", finished.key)
        job.finished[index] = finished
        done = [one for one in job.finished if one is not None]
        if len(done) == len(job.finished):
            self._jobs.discard(job)
            said = [self._speaker.completion(one, job.sampling.stop) for one in done]
            job.future.set_result(
                [replace(one, text=job.prefill + one.text) if one.error is None else one for one in said]
            )

    def _fail(self, error: BaseException) -> None:
        while not self._inbox.empty():
            job = self._inbox.get()
            if job is not None and job.future.set_running_or_notify_cancel():
                self._jobs.add(job)
        for job in self._jobs:
            job.future.set_exception(error)
        self._jobs.clear()
