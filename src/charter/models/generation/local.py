"""A local model that answers conversations: chat template, engine, text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charter.models.generation.engine import Engine
from charter.models.generation.types import EngineStats, Finished, Request
from charter.models.template import chat_format, stop_ids
from charter.ports import Progress
from charter.records import Completion, Conversation, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from charter.models.loading import LocalModel


class Speaker:
    """Conversations to requests and finished samples to completions, for one model and tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._format = chat_format(tokenizer)
        self._tokenizer = tokenizer
        self._stop_ids = stop_ids(model, self._format)

    def engine(self, model: PreTrainedModel, max_rows: int) -> Engine:
        """An engine that stops where this model's turns end."""
        return Engine(model, stop_ids=self._stop_ids, decode=self._text, max_rows=max_rows)

    def requests(self, key: object, prompt: Conversation, sampling: Sampling, prefill: str = "") -> list[Request]:
        """sampling.n requests, keyed (key, index). Raises UserError when the template refuses the conversation.

        prefill: words with which the answer begins already.
        """
        ids = self._format.prompt_ids(prompt) + (self._format.text_ids(prefill) if prefill else ())
        return [Request((key, index), ids, sampling, index, sampling.seed) for index in range(sampling.n)]

    def completion(self, finished: Finished, stops: Sequence[str]) -> Completion:
        """The text without special tokens and without the stop string; tokens and log-probabilities are all of them."""
        tokens = finished.tokens
        text = self._text(tokens[:-1] if finished.stopped_by == "token" else tokens)
        if finished.stopped_by == "string":
            text = text[: min(at for stop in stops if (at := text.find(stop)) >= 0)]
        return Completion(
            text=text,
            tokens=tokens,
            logprob=None if finished.error else sum(finished.logprobs),
            token_logprobs=finished.logprobs,
            finish=finished.finish,
            error=finished.error,
        )

    def _text(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text if isinstance(text, str) else "".join(text)


class LocalTextModel:
    """ports.TextModel over a model in this process. Not thread-safe; see BatchWorker for concurrent callers."""

    def __init__(self, local: LocalModel, *, max_rows: int = 128) -> None:
        self._local = local
        self._speaker = Speaker(local.model, local.tokenizer)
        self._engine = self._speaker.engine(local.model, max_rows)

    @classmethod
    def of(
        cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, name: str = "model", max_rows: int = 128
    ) -> LocalTextModel:
        """Over a plain model and tokenizer, such as a policy in training."""
        from charter.models.loading import LocalModel

        return cls(LocalModel(name, model, tokenizer, ""), max_rows=max_rows)

    @property
    def name(self) -> str:
        return self._local.name

    @property
    def local(self) -> LocalModel:
        return self._local

    @property
    def stats(self) -> EngineStats:
        return self._engine.stats

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        """One list of sampling.n completions per prompt. `progress` counts completions."""
        requests = [r for index, prompt in enumerate(prompts) for r in self._speaker.requests(index, prompt, sampling)]
        try:
            finished = self._engine.run(requests, progress)
        except BaseException:
            self._engine.clear()
            raise
        answers = [self._speaker.completion(one, sampling.stop) for one in finished]
        return [answers[start : start + sampling.n] for start in range(0, len(answers), sampling.n)]
