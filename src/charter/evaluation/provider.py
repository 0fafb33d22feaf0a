"""Our models as an Inspect model provider: `charter/NAME`, where NAME is any model name that charter takes.

`inspect eval TASK --model charter/smollm2` loads by name; `inspect_model` serves a model that is already in memory.
Every request becomes one submission to a worker that batches them; the event loop only waits for futures.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    get_model,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from typing_extensions import override

from charter.errors import UserError
from charter.ports import TextModel
from charter.records import Completion, Conversation, Message, Sampling

if TYPE_CHECKING:
    from charter.evaluation.named import NamedModel
    from charter.models.loading import LocalModel

CONNECTIONS = 1024
"""Requests in flight: more than any batch, so that the engine never waits for Inspect to send the next one."""
_DEFAULT_MAX_TOKENS = 256
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


@modelapi(name="charter")
class CharterAPI(ModelAPI):
    """Inspect's view of a charter model. Set `answerer` before the first request, or it is loaded by name."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.answerer: Answerer | None = None
        self.answered: Callable[[], None] = lambda: None
        self._loading = threading.Lock()

    @override
    def max_connections(self) -> int:
        return CONNECTIONS

    @override
    def close(self) -> None:
        if self.answerer is not None:
            self.answerer.close(wait=False)
            self.answerer = None

    @override
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One request. Raises RuntimeError (a sample error to Inspect) when the model could not answer."""
        if tools:
            raise UserError("The charter provider has no tool calls. Use a task without tools.")
        answerer = self.answerer
        if answerer is None:
            answerer = await asyncio.to_thread(self._load)
        started = time.monotonic()
        future = answerer.submit(conversation_of_chat(input), sampling_of(config))
        completions = await asyncio.wrap_future(future)
        self.answered()
        return _output(self.model_name, completions, time.monotonic() - started)

    @override
    async def count_text_tokens(self, text: str) -> int:
        """A rough count, at 3 characters a token: Inspect's own estimate would fetch an encoding from the network."""
        return len(text) // 3 + 1

    def _load(self) -> Answerer:
        from charter.models.loading import load_model
        from charter.models.names import is_endpoint, text_model

        with self._loading:
            answerer = self.answerer
            if answerer is None:
                name = self.model_name
                answerer = answerer_for(text_model(name) if is_endpoint(name) else load_model(name))
                self.answerer = answerer
            return answerer


def answerer_for(model: LocalModel | NamedModel | TextModel) -> Answerer:
    """A worker for a model: the batching engine for weights in this process, gathered calls for anything else."""
    from charter.evaluation.named import NamedModel, RememberingWorker
    from charter.models.generation.local import LocalTextModel
    from charter.models.loading import LocalModel

    if isinstance(model, NamedModel):
        return RememberingWorker(model)
    if isinstance(model, LocalTextModel):
        model = model.local
    if isinstance(model, LocalModel):
        from charter.models.generation.worker import BatchWorker

        return BatchWorker(model)
    return GatheringWorker(model)


def inspect_model(
    model: LocalModel | NamedModel | TextModel,
    config: GenerateConfig | None = None,
    answered: Callable[[], None] | None = None,
) -> Model:
    """An Inspect model over one that is already loaded; `answered` is called after each completion.

    Close it (`close_model`) to stop its worker thread; the model itself stays loaded.
    """
    wrapped = get_model(f"charter/{model.name}", config=config, memoize=False)
    api: Any = wrapped.api
    api.answerer = answerer_for(model)
    if answered is not None:
        api.answered = answered
    return wrapped


def close_model(model: Model) -> None:
    """Stop the worker of a model made by `inspect_model`."""
    model.api.close()


def conversation_of_chat(messages: Sequence[ChatMessage]) -> Conversation:
    """Inspect's messages as ours; content that is not text is refused by Inspect's own `text` being empty."""
    return tuple(Message(message.role, message.text) for message in messages)


def sampling_of(config: GenerateConfig) -> Sampling:
    """Inspect's settings as ours. A setting that charter does not have is an error, not a no-op."""
    unknown = [
        name
        for name in ("top_k", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "response_schema")
        if getattr(config, name, None)
    ]
    if unknown:
        raise UserError(f"The charter provider cannot honour {', '.join(unknown)}. Remove the option and run again.")
    return Sampling(
        max_tokens=config.max_tokens or _DEFAULT_MAX_TOKENS,
        temperature=config.temperature or 0.0,
        top_p=1.0 if config.top_p is None else config.top_p,
        n=config.num_choices or 1,
        seed=config.seed or 0,
        stop=tuple(config.stop_seqs or ()),
    )


def _output(name: str, completions: Sequence[Completion], seconds: float) -> ModelOutput:
    failed = next((completion for completion in completions if completion.finish == "error"), None)
    if failed is not None or not completions:
        raise RuntimeError(f"the model did not answer: {failed.error if failed else 'no completion came back'}")
    choices = [
        ChatCompletionChoice(
            message=ChatMessageAssistant(content=completion.text, model=name, source="generate"),
            stop_reason="max_tokens" if completion.finish == "length" else "stop",
        )
        for completion in completions
    ]
    tokens = sum(len(completion.tokens) for completion in completions)
    # The engine does not say how long the prompt was; an honest zero is better than a guess.
    usage = ModelUsage(input_tokens=0, output_tokens=tokens, total_tokens=tokens)
    return ModelOutput(model=name, choices=choices, usage=usage, time=seconds)
