"""A model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, `transformers serve`, a hosted one)."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from charter.errors import UserError
from charter.models.waiting import pause_seconds
from charter.ports import Progress
from charter.records import Completion, Conversation, Finish, Sampling

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PREFIX = "openai:"
_TOP_LOGPROBS = 20

Q = TypeVar("Q")
A = TypeVar("A")


class EndpointSettings(BaseModel):
    """How a server is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: int = Field(16, ge=1, description="Requests in flight at a time.")
    requests_per_minute: float | None = Field(None, gt=0, description="Most requests started a minute; null: no limit.")
    attempts: int = Field(5, ge=1, description="Tries of a request that fails in a way that may pass.")
    timeout_seconds: float = Field(120.0, gt=0, description="Time-out of one request.")
    price: tuple[float, float] | None = Field(
        None, description="Price of a million prompt tokens and of a million completion tokens, for the account."
    )


class EndpointModel:
    """ports.TextModel over the chat completions protocol.

    Requests run concurrently; 408, 409, 429, 5xx, lost connections and time-outs are tried again with growing waits
    (or the server's Retry-After). What still fails is a completion with finish "error" and the reason, `passing` if a
    later try may succeed; it does not stop the others. The key is CHARTER_API_KEY, else OPENAI_API_KEY, else "none"
    (local servers want none).
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        concurrency: int = 16,
        attempts: int = 5,
        timeout_seconds: float = 120.0,
        requests_per_minute: float | None = None,
    ) -> None:
        self._base_url, self._model = base_url, model
        self._concurrency, self._attempts, self._timeout = concurrency, attempts, timeout_seconds
        self._seconds_apart = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._next_start = 0.0
        self.option_tokens = (0, 0)
        """Prompt and completion tokens that the server counted for answered option questions."""

    @classmethod
    def from_name(cls, name: str, settings: EndpointSettings = EndpointSettings()) -> EndpointModel:
        """From `openai:http://host:port/v1#name`. Raises UserError when the name has another shape."""
        url, _, model = name.removeprefix(_PREFIX).partition("#")
        if not name.startswith(_PREFIX) or not url.startswith(("http://", "https://")) or not model:
            raise UserError(
                f'"{name}" is not an endpoint: write `openai:http://host:port/v1#name`, the base URL with its /v1 and, '
                "after #, the model's name as the server knows it (see the server's /v1/models)."
            )
        return cls(url, model, **settings.model_dump(exclude={"price"}))

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
        questions = [(prompt, index) for prompt in prompts for index in range(sampling.n)]

        async def one(client: AsyncOpenAI, question: tuple[Conversation, int]) -> Completion:
            try:
                return _completion(await self._ask(client, self._body(question[0], sampling, question[1]), _checked))
            except _Failed as failed:
                return Completion(text="", finish="error", error=failed.reason, passing=failed.passing)

        answers = await self._all(questions, one, progress)
        return [answers[start : start + sampling.n] for start in range(0, len(answers), sampling.n)]

    def option_logprobs(
        self, questions: Sequence[tuple[Conversation, Sequence[str]]], progress: Progress | None = None
    ) -> list[tuple[float, ...] | str]:
        """For each (prompt, options), the log-prob (nats) of each option as the first token; or why there is none.

        Read from the server's `top_logprobs`, spaces around tokens aside. An option that is not among them gets the
        smallest that is there, which is an upper bound; when none is among them, all get -inf. A reason is `Passing`
        where a later try may be answered. Not to be called from a running event loop.
        """

        async def one(client: AsyncOpenAI, question: tuple[Conversation, Sequence[str]]) -> tuple[float, ...] | _Failed:
            body = self._body(question[0], Sampling(max_tokens=1), 0)
            body |= {"logprobs": True, "top_logprobs": _TOP_LOGPROBS}
            try:
                answer = await self._ask(client, body, _checked)
                self.option_tokens = _added(self.option_tokens, _usage(answer))
                return _options(answer, question[1])
            except _Failed as failed:
                return failed

        found = asyncio.run(self._all(questions, one, progress))
        return [answer.told if isinstance(answer, _Failed) else answer for answer in found]

    async def _all(
        self,
        questions: Sequence[Q],
        one: Callable[[AsyncOpenAI, Q], Awaitable[A]],
        progress: Progress | None,
    ) -> list[A]:
        """The answers in order, so many in flight at a time."""
        from openai import AsyncOpenAI

        key = os.environ.get("CHARTER_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        done = 0
        gate = asyncio.Semaphore(self._concurrency)
        self._next_start = 0.0

        # Retries are ours: the client's own do not cover every server's way of being busy, and cannot be counted.
        async with AsyncOpenAI(base_url=self._base_url, api_key=key, timeout=self._timeout, max_retries=0) as client:

            async def gated(question: Q) -> A:
                nonlocal done
                async with gate:
                    answer = await one(client, question)
                done += 1
                if progress is not None:
                    progress(done, len(questions))
                return answer

            return list(await asyncio.gather(*map(gated, questions)))

    async def _ask(self, client: AsyncOpenAI, body: dict[str, Any], check: Callable[[Any], Any]) -> Any:
        """A checked answer. Raises _Failed when all tries are used up, or another one would be of no use."""
        from openai import APIConnectionError, APIStatusError, OpenAIError

        reason = ""
        for attempt in range(self._attempts):
            await self._turn()
            try:
                return check(await client.chat.completions.create(**body))
            except APIStatusError as error:
                reason = f"HTTP {error.status_code}: {error.message}"
                if error.status_code not in (408, 409, 429) and error.status_code < 500:
                    raise _Failed(reason, passing=False) from None
                asked = error.response.headers.get("retry-after")
            except APIConnectionError as error:  # time-outs are connection errors too
                reason, asked = f"{type(error).__name__}: {error} ({self._base_url})", None
            except (OpenAIError, ValueError, TypeError, AttributeError, IndexError) as error:
                # An answer that does not follow the protocol: asking again would give the same.
                reason = f"the server's answer is not a chat completion ({type(error).__name__}: {error})"
                raise _Failed(reason, passing=False) from None
            if attempt + 1 < self._attempts:
                await asyncio.sleep(pause_seconds(attempt, asked))
        raise _Failed(reason, passing=True)

    async def _turn(self) -> None:
        """Wait until the rate limit lets another request start."""
        if not self._seconds_apart:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self._next_start)
        self._next_start = start + self._seconds_apart
        await asyncio.sleep(start - now)

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


class Passing(str):
    """A reason why there is no answer now, when there may be one later: the server is down or busy."""


class _Failed(Exception):
    """A request that got no answer; `passing` if a later try may get one."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.reason, self.passing = reason, passing

    @property
    def told(self) -> str:
        """The reason, `Passing` if it is."""
        return Passing(self.reason) if self.passing else self.reason


def _checked(answer: Any) -> Any:
    """The answer, when it has what is read of it; raises what reading it would."""
    _ = answer.choices[0].message.content, answer.choices[0].finish_reason
    return answer


def _completion(answer: Any) -> Completion:
    choice = answer.choices[0]
    finish: Finish = "length" if choice.finish_reason == "length" else "stop"
    if choice.finish_reason == "content_filter" and not choice.message.content:
        return Completion(text="", finish="error", error="the server's content filter withheld the answer")
    logprobs = tuple(float(part.logprob) for part in (choice.logprobs.content or ())) if choice.logprobs else ()
    prompt_tokens, completion_tokens = _usage(answer)
    return Completion(
        text=choice.message.content or "",
        token_logprobs=logprobs,
        logprob=sum(logprobs) if logprobs else None,
        finish=finish,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def _usage(answer: Any) -> tuple[int, int]:
    """(prompt tokens, completion tokens) that the server counted; 0 where it did not."""
    usage = getattr(answer, "usage", None)
    return getattr(usage, "prompt_tokens", None) or 0, getattr(usage, "completion_tokens", None) or 0


def _added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _options(answer: Any, options: Sequence[str]) -> tuple[float, ...]:
    """Log-probs of the options among the first token's top ones, spaces as two kinds of tokenizers write them aside.

    Raises _Failed when the server gives none.
    """
    logprobs = answer.choices[0].logprobs
    if not (logprobs and logprobs.content and logprobs.content[0].top_logprobs):
        raise _Failed("the server gives no top_logprobs", passing=False)
    top = [(one.token.strip(" \u0120\u2581"), float(one.logprob)) for one in logprobs.content[0].top_logprobs]
    seen = {option: max(mine) for option in options if (mine := [value for token, value in top if token == option])}
    least = min(value for _, value in top) if seen else -math.inf
    return tuple(seen.get(option, least) for option in options)
