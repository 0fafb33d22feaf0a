"""A model in this process behind the guard: the protocol's answers from the batched generator."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from charter.models.generation.worker import BatchWorker
from charter.models.loading import load_model
from charter.records import Completion, Sampling
from charter.server.sse import DONE
from charter.server.upstream import Answer, Body, Stream
from charter.server.wire import Refused, conversation_of, error_body, parsed

_LONGEST = 512
_KNOWN = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
        "n", "seed", "stop", "user",
    }
)  # fmt: skip
_JSON = {"content-type": "application/json"}


class LocalUpstream:
    """Answers /chat/completions; requests under way share batches.

    A stream is sent when its text is whole. Options that it cannot honour are refused, as they would do nothing.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._worker = BatchWorker(load_model(name))

    async def ask(self, method: str, path: str, body: Body, headers: Mapping[str, str]) -> Answer:  # noqa: ARG002
        """One whole answer."""
        if path == "/models":
            one = {"id": self.name, "object": "model", "created": 0, "owned_by": "local"}
            return Answer(200, {"object": "list", "data": [one]}, _JSON)
        asked = parsed(body) if isinstance(body, bytes) else body or {}
        if path != "/chat/completions":
            return Answer(404, error_body(f"A local model answers chats alone; it has no {path}.", "not_found"), _JSON)
        try:
            return Answer(200, await self._answer(asked), _JSON)
        except Refused as error:
            return Answer(error.status, error_body(error.message, error.code), _JSON)

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> AsyncIterator[Stream]:
        """The answer as events."""
        answer = await self.ask("POST", path, body, headers)
        yield Stream(None, answer) if answer.status != 200 else Stream(_events(answer.body))

    async def alive(self) -> bool:
        """The weights are loaded."""
        return True

    async def close(self) -> None:
        """End the batches."""
        await asyncio.to_thread(self._worker.close)

    async def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt, sampling = conversation_of(body.get("messages")), _sampling(body)
        said = await asyncio.wrap_future(self._worker.submit(prompt, sampling))
        failed = next((one.error for one in said if one.error is not None), None)
        if failed is not None:
            raise Refused(400, failed)
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": [_choice(place, one) for place, one in enumerate(said)],
            "usage": {"completion_tokens": sum(len(one.tokens) for one in said)},
        }


def _choice(index: int, said: Completion) -> dict[str, Any]:
    message = {"role": "assistant", "content": said.text}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": said.finish}


def _sampling(body: Mapping[str, Any]) -> Sampling:
    known = {
        "model",
        "messages",
        "prompt",
        "stream",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "n",
    }
    known |= {"seed", "stop", "user", "stream_options"}
    if unknown := sorted(key for key, value in body.items() if key not in known and value not in (None, False, 0, [])):
        raise Refused(400, f"A local model has no {', '.join(unknown)}.", "unsupported")
    stop = body.get("stop") or ()
    try:
        return Sampling(
            max_tokens=int(body.get("max_tokens") or body.get("max_completion_tokens") or _LONGEST),
            temperature=float(1.0 if body.get("temperature") is None else cast(float, body["temperature"])),
            top_p=float(body.get("top_p") or 1.0),
            n=int(body.get("n") or 1),
            seed=int(body.get("seed") or 0),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
        )
    except (TypeError, ValueError) as error:
        raise Refused(400, f"The options of sampling cannot be read: {error}.") from None


async def _events(answer: dict[str, Any]) -> AsyncIterator[str]:
    head = {
        "id": answer["id"],
        "object": "chat.completion.chunk",
        "created": answer["created"],
        "model": answer["model"],
    }
    for choice in answer["choices"]:
        for piece, reason in ((choice["message"], None), ({}, choice["finish_reason"])):
            yield json.dumps({**head, "choices": [{"index": choice["index"], "delta": piece, "finish_reason": reason}]})
    yield DONE
