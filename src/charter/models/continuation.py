"""Raw text continued by a model, with no chat template in between: for models that have a prompt format of their own.

What comes back are the pieces (one a token) and their log-probabilities, so that the chance of a word can be read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from charter.errors import UserError

if TYPE_CHECKING:
    from charter.models.loading import LocalModel


@dataclass(frozen=True, slots=True)
class Continuation:
    """What was said, greedily. `pieces` make up the text; `logprobs` (nats) has one each, or none where it is hidden.

    `error` says why nothing came back.
    """

    text: str
    pieces: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    error: str | None = None


class Continuer(Protocol):
    """Continues texts. `template` is the model's own chat template, None where it is not known."""

    @property
    def name(self) -> str: ...

    @property
    def template(self) -> Any: ...

    def follow(self, texts: Sequence[str], max_tokens: int) -> list[Continuation]:
        """One continuation a text, in their order."""
        ...


def continuer(name: str) -> Continuer:
    """What continues text by a model's one-string name. Raises UserError when the name is no model."""
    from charter.models.loading import load_model
    from charter.models.names import is_endpoint

    return EndpointContinuer.from_name(name) if is_endpoint(name) else LocalContinuer(load_model(name))


class LocalContinuer:
    """A model in this process, through the batching engine."""

    def __init__(self, local: LocalModel) -> None:
        from charter.models.generation.engine import Engine

        self.name = local.name
        self.template = local.tokenizer if local.tokenizer.chat_template else None
        self._tokenizer = local.tokenizer
        ids: set[int] = set()
        for value in (local.tokenizer.eos_token_id, getattr(local.model.generation_config, "eos_token_id", None)):
            ids.update(value if isinstance(value, list) else [] if value is None else [int(value)])
        self._stops = frozenset(ids)
        self._engine = Engine(local.model, stop_ids=self._stops)

    def follow(self, texts: Sequence[str], max_tokens: int) -> list[Continuation]:
        """Greedy continuations. A text that writes its own first special token gets no second one."""
        from charter.models.generation.types import Request
        from charter.records import Sampling

        sampling = Sampling(max_tokens=max_tokens)
        start = self._tokenizer.bos_token
        requests = [
            Request(
                i,
                tuple(self._tokenizer(text, add_special_tokens=not (start and text.startswith(start)))["input_ids"]),
                sampling,
            )
            for i, text in enumerate(texts)
        ]
        try:
            finished = self._engine.run(requests)
        except BaseException:
            self._engine.clear()
            raise
        return [self._continuation(one) for one in finished]

    def _continuation(self, finished: Any) -> Continuation:
        if finished.error:
            return Continuation("", error=finished.error)
        kept = [(t, p) for t, p in zip(finished.tokens, finished.logprobs, strict=True) if t not in self._stops]
        ids = [token for token, _ in kept]
        # A token's piece is what it adds to the text: single tokens may decode otherwise than they do together.
        texts = [str(self._tokenizer.decode(ids[:end], skip_special_tokens=True)) for end in range(len(ids) + 1)]
        pieces = tuple(after[len(before) :] for before, after in pairwise(texts))
        return Continuation(texts[-1], pieces, tuple(logprob for _, logprob in kept))


_STARTS = ("<|begin_of_text|>", "<s>")


class EndpointContinuer:
    """An OpenAI-compatible server's text completions (`/v1/completions`): vLLM, SGLang, llama.cpp."""

    template = None

    def __init__(self, base_url: str, model: str, *, concurrency: int = 16, attempts: int = 4) -> None:
        self._base_url, self._model, self._attempts = base_url, model, attempts
        self._concurrency = concurrency

    @classmethod
    def from_name(cls, name: str) -> EndpointContinuer:
        """From `openai:http://host:port/v1#name`. Raises UserError when the name has another shape."""
        url, _, model = name.removeprefix("openai:").partition("#")
        if not url.startswith(("http://", "https://")) or not model:
            raise UserError(f'"{name}" is not an endpoint: write `openai:http://host:port/v1#name`.')
        return cls(url, model)

    @property
    def name(self) -> str:
        return f"openai:{self._base_url}#{self._model}"

    def follow(self, texts: Sequence[str], max_tokens: int) -> list[Continuation]:
        """Greedy continuations; what fails after retries says why. Not to be called from a running event loop.

        A first token that opens a text is left out: these servers put it there themselves.
        """
        bare = [next((text[len(s) :] for s in _STARTS if text.startswith(s)), text) for text in texts]
        return asyncio.run(self._all(bare, max_tokens))

    async def _all(self, texts: Sequence[str], max_tokens: int) -> list[Continuation]:
        from openai import AsyncOpenAI

        key = os.environ.get("CHARTER_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        gate = asyncio.Semaphore(self._concurrency)
        async with AsyncOpenAI(
            base_url=self._base_url, api_key=key, timeout=120.0, max_retries=self._attempts - 1
        ) as client:

            async def one(text: str) -> Continuation:
                async with gate:
                    return await self._ask(client, text, max_tokens)

            return list(await asyncio.gather(*map(one, texts)))

    async def _ask(self, client: Any, text: str, max_tokens: int) -> Continuation:
        from openai import OpenAIError

        try:
            answer = await client.completions.create(
                model=self._model, prompt=text, max_tokens=max_tokens, temperature=0.0, logprobs=1
            )
            choice = answer.choices[0]
            said = choice.logprobs
            pieces = tuple(said.tokens or ()) if said else ()
            logprobs = tuple(float(p) for p in (said.token_logprobs or ())) if said else ()
            if "".join(pieces) != choice.text or len(pieces) != len(logprobs):
                pieces, logprobs = (), ()
            return Continuation(choice.text, pieces, logprobs)
        except (OpenAIError, ValueError, TypeError, AttributeError, IndexError) as error:
            return Continuation("", error=f"{type(error).__name__}: {error} ({self._base_url})")
