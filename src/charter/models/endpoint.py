"""A model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, `transformers serve`, a hosted one)."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charter.errors import UserError
from charter.ports import Progress
from charter.records import Completion, Conversation, Finish, Sampling

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PREFIX = "openai:"
_BACKOFF_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0


class EndpointModel:
    """ports.TextModel over the chat completions protocol.

    Requests run concurrently; 408, 409, 429, 5xx, lost connections and time-outs are tried again with growing waits
    (or the server's Retry-After). What still fails is a completion with finish "error" and the reason; it does not stop
    the others. The key is CHARTER_API_KEY, else OPENAI_API_KEY, else "none" (local servers want none).
    """

    def __init__(
        self, base_url: str, model: str, *, concurrency: int = 16, attempts: int = 5, timeout_seconds: float = 120.0
    ) -> None:
        self._base_url, self._model = base_url, model
        self._concurrency, self._attempts, self._timeout = concurrency, attempts, timeout_seconds

    @classmethod
    def from_name(cls, name: str) -> EndpointModel:
        """From `openai:http://host:port/v1#name`. Raises UserError when the name has another shape."""
        url, _, model = name.removeprefix(_PREFIX).partition("#")
        if not name.startswith(_PREFIX) or not url.startswith(("http://", "https://")) or not model:
            raise UserError(
                f'"{name}" is not an endpoint: write `openai:http://host:port/v1#name`, the base URL with its /v1 and, '
                "after #, the model's name as the server knows it (see the server's /v1/models)."
            )
        return cls(url, model)

    @property
    def name(self) -> str:
        return f"{_PREFIX}{self._base_url}#{self._model}"

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        """One list of sampling.n completions per prompt. Not to be called from a running event loop."""
        return asyncio.run(self.agenerate(prompts, sampling, progress))

    async def agenerate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        """The same, for async callers."""
        from openai import AsyncOpenAI

        key = os.environ.get("CHARTER_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        total, done = len(prompts) * sampling.n, 0
        gate = asyncio.Semaphore(self._concurrency)

        # Retries are ours: the client's own do not cover every server's way of being busy, and cannot be counted.
        async with AsyncOpenAI(base_url=self._base_url, api_key=key, timeout=self._timeout, max_retries=0) as client:

            async def one(prompt: Conversation, index: int) -> Completion:
                nonlocal done
                async with gate:
                    answer = await self._ask(client, prompt, sampling, index)
                done += 1
                if progress is not None:
                    progress(done, total)
                return answer

            answers = await asyncio.gather(*(one(prompt, i) for prompt in prompts for i in range(sampling.n)))
        return [list(answers[start : start + sampling.n]) for start in range(0, total, sampling.n)]

    async def _ask(self, client: AsyncOpenAI, prompt: Conversation, sampling: Sampling, index: int) -> Completion:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        reason = ""
        for attempt in range(self._attempts):
            try:
                return _completion(await client.chat.completions.create(**self._body(prompt, sampling, index)))
            except APIStatusError as error:
                reason = f"HTTP {error.status_code}: {error.message}"
                if error.status_code not in (408, 409, 429) and error.status_code < 500:
                    break
                wait = _retry_after(error.response.headers.get("retry-after"))
            except APIConnectionError as error:  # time-outs are connection errors too
                reason, wait = f"{type(error).__name__}: {error} ({self._base_url})", None
            except (OpenAIError, ValueError, TypeError, AttributeError, IndexError) as error:
                # An answer that does not follow the protocol: asking again would give the same.
                reason = f"the server's answer is not a chat completion ({type(error).__name__}: {error})"
                break
            if attempt + 1 < self._attempts:
                backoff = _BACKOFF_SECONDS * 2**attempt * random.uniform(0.75, 1.25)
                await asyncio.sleep(min(_LONGEST_WAIT_SECONDS, backoff if wait is None else wait))
        return Completion(text="", finish="error", error=reason)

    def _body(self, prompt: Conversation, sampling: Sampling, index: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # One request a sample, each with its own seed: not every server takes `n`.
            "seed": (sampling.seed * 1_000_003 + index) % 2**31,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        return body


def _completion(answer: Any) -> Completion:
    choice = answer.choices[0]
    finish: Finish = "length" if choice.finish_reason == "length" else "stop"
    if choice.finish_reason == "content_filter" and not choice.message.content:
        return Completion(text="", finish="error", error="the server's content filter withheld the answer")
    logprobs = tuple(float(part.logprob) for part in (choice.logprobs.content or ())) if choice.logprobs else ()
    return Completion(
        text=choice.message.content or "",
        token_logprobs=logprobs,
        logprob=sum(logprobs) if logprobs else None,
        finish=finish,
    )


def _retry_after(header: str | None) -> float | None:
    """Seconds the server asked to wait, when it said so as a number."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
