"""Chat and text completions through the guard: the prompt before the model, each choice before the client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from charter.guard.verdicts import Decision
from charter.records import Message
from charter.server.asked import Asked
from charter.server.guarding import Guarding
from charter.server.request import Handled, filtered, refusal_of
from charter.server.sse import DONE, event
from charter.server.upstream import Answer, UpstreamFailed
from charter.server.wire import Refused, replaced, strings, with_text


async def check_prompts(asked: Asked, guarding: Guarding, handled: Handled) -> tuple[Decision | None, Asked]:
    """(the decision that stops the request, or None; the request with what was redacted)."""
    body = dict(asked.body)
    conversations = []
    for number, conversation in enumerate(asked.conversations):
        turns = list(conversation)
        for place, decision in (await guarding.input(conversation)).items():
            handled.note("input", decision, conversation[place].content)
            if handled.stops(decision):
                return decision, asked
            if decision.verdict == "redact" and decision.text is not None and not handled.shadow:
                if turns[place].role not in ("user", "assistant"):
                    raise Refused(
                        400, "There is something to redact, and no user's message that it is in.", "unchecked"
                    )
                turns[place] = Message(turns[place].role, decision.text)
                body = _redacted(asked, body, number, place, decision.text)
        conversations.append(tuple(turns))
    return None, Asked(asked.kind, tuple(conversations), body)


def _redacted(asked: Asked, body: dict[str, Any], number: int, place: int, text: str) -> dict[str, Any]:
    if asked.kind == "chat":
        messages = list(body["messages"])
        messages[place] = with_text(messages[place], text)
        return {**body, "messages": messages}
    prompt = body["prompt"]
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return {**body, "prompt": text}
    if prompt and isinstance(prompt[0], list):
        raise Refused(400, "A prompt of token ids has something to redact. Send it as text.", "unchecked")
    return {**body, "prompt": [text if place_ == number else one for place_, one in enumerate(prompt)]}


async def checked_answer(
    asked: Asked, answer: Answer, guarding: Guarding, handled: Handled, refusals: Mapping[str, str]
) -> dict[str, Any]:
    """The upstream's whole answer with each choice checked. Raises UpstreamFailed for what is no answer."""
    body = answer.body
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
        raise UpstreamFailed(502, "The model behind the guard gave something else than choices.")
    choices = []
    for place, choice in enumerate(body["choices"]):
        if not isinstance(choice, dict):
            raise UpstreamFailed(502, "The model behind the guard gave something else than choices.")
        choices.append(await _checked_choice(asked, choice, place, guarding, handled, refusals))
    return {**body, "choices": choices}


async def _checked_choice(
    asked: Asked, choice: dict[str, Any], place: int, guarding: Guarding, handled: Handled, refusals: Mapping[str, str]
) -> dict[str, Any]:
    index = choice.get("index", place)
    piece = "message" if asked.kind == "chat" else "text"
    hidden = {}
    for path, text in strings({piece: choice.get(piece)}):
        decision = await guarding.output(asked.of(index), text)
        handled.note("output", decision, text)
        if handled.stops(decision):
            return filtered(index, piece, refusal_of(decision, refusals))
        if decision.verdict == "redact" and decision.text is not None and not handled.shadow:
            hidden[path] = decision.text
    if not hidden:
        return choice
    # Log-probs name the tokens of what was taken out.
    changed: dict[str, Any] = replaced(choice, hidden)
    return {**changed, "logprobs": None}


def refused_answer(asked: Asked, handled: Handled, text: str) -> dict[str, Any]:
    """A whole answer in place of the model's."""
    chat = asked.kind == "chat"
    return {
        "id": handled.id,
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": str(asked.body.get("model", "")),
        "choices": [filtered(0, "message" if chat else "text", text)],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


async def refused_stream(asked: Asked, handled: Handled, text: str) -> AsyncIterator[bytes]:
    """The same, streamed."""
    whole = refused_answer(asked, handled, text)
    head = {key: whole[key] for key in ("id", "created", "model")}
    chat = asked.kind == "chat"
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    said: Any = {"role": "assistant", "content": text} if chat else text
    piece = "delta" if chat else "text"
    yield event({**head, "choices": [{"index": 0, piece: said, "logprobs": None, "finish_reason": None}]})
    end: Any = {} if chat else ""
    yield event({**head, "choices": [{"index": 0, piece: end, "logprobs": None, "finish_reason": "content_filter"}]})
    yield event(DONE)
