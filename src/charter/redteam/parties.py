"""Who answers queries: the model under attack and, where they are named, an attacker and a translator."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from charter.records import Completion, Conversation
from charter.redteam.protocol import Query

if TYPE_CHECKING:
    from charter.evaluation.provider import Answerer
    from charter.models.loading import LocalModel
    from charter.ports import TextModel


class Party:
    """A model with the worker that batches for it: continuous batches for weights in this process, gathered calls for
    anything else. `identity` tells its answers from other models': its weights' digest, or its name.
    """

    def __init__(self, model: LocalModel | TextModel) -> None:
        from charter.models.generation.local import LocalTextModel
        from charter.models.loading import LocalModel

        self.local = (
            model.local if isinstance(model, LocalTextModel) else model if isinstance(model, LocalModel) else None
        )
        self.name = model.name
        self.identity = (self.local.digest or model.name) if self.local is not None else model.name
        self._model = model
        self._worker: Answerer | None = None

    def submit(self, query: Query) -> Future[list[Completion]]:
        """The answer, later."""
        from charter.models.generation.worker import BatchWorker

        if self._worker is None:
            self._worker = BatchWorker(self.local) if self.local is not None else _gathering(self._model)
        if not query.prefill:
            return self._worker.submit(query.prompt, query.sampling)
        if not isinstance(self._worker, BatchWorker):
            raise TypeError("only weights in this process can be made to go on from given words")
        return self._worker.submit(query.prompt, query.sampling, query.prefill)

    def quiet(self) -> None:
        """Let go of the weights: after this nothing else touches them until the next `submit`."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def close(self) -> None:
        """Drop what is waiting and end the worker."""
        if self._worker is not None:
            self._worker.close(wait=False)
            self._worker = None


def _gathering(model: Any) -> Answerer:
    # Inspect, which this module imports, takes seconds to load: only endpoints pay for it.
    from charter.evaluation.provider import GatheringWorker

    return GatheringWorker(model)


def fitting(local: LocalModel | None, max_tokens: int) -> Callable[[Conversation], bool | None]:
    """Whether the context holds a conversation and `max_tokens` of answer; None for an endpoint, where nobody knows."""
    if local is None:
        return lambda _: None
    from charter.models.generation.support import context_of
    from charter.models.template import chat_format

    context, format_ = context_of(local.model), chat_format(local.tokenizer)
    if context is None:
        return lambda _: None
    return lambda conversation: len(format_.prompt_ids(conversation)) + max_tokens <= context
