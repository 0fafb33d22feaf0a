"""Requests and answers of the OpenAI protocol as plain JSON: what is text in them, and how an error looks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from charter.records import Conversation, Message

_ROLES: Final[Mapping[str, str]] = {"developer": "system", "function": "tool"}
_SILENT: Final = frozenset({"role", "id", "type", "tool_call_id", "object", "logprobs", "index", "finish_reason"})
"""Keys of a message whose strings are not the model's words."""
_DEEPEST: Final = 64

Path = tuple[str | int, ...]


class Refused(Exception):
    """A request that is not passed on. status: of the HTTP answer.  code: for programs."""

    def __init__(self, status: int, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


def parsed(body: bytes) -> dict[str, Any]:
    """A request's JSON object. Raises Refused for anything else, and for nesting that no client needs."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body is not JSON ({type(error).__name__}). Send one JSON object.") from None
    if not isinstance(found, dict):
        raise Refused(400, "The body must be one JSON object.")
    if _too_deep(found):
        raise Refused(400, f"The body is nested more than {_DEEPEST} levels deep.")
    return found


def error_body(message: str, code: str) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def conversation_of(messages: object) -> Conversation:
    """The messages of a chat request, texts alone. Raises Refused for what cannot be read or checked."""
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "`messages` must be a list of at least one message.")
    turns = []
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refused(400, f"messages[{place}] must be an object with a role.")
        role = _ROLES.get(message["role"], message["role"])
        if role not in ("system", "user", "assistant", "tool"):
            raise Refused(400, f'messages[{place}] has the unknown role "{message["role"]}".')
        turns.append(Message(role, text_of(message, f"messages[{place}]")))  # type: ignore[arg-type]
    return tuple(turns)


def text_of(message: Mapping[str, Any], where: str) -> str:
    """A message's text: its content, and what an assistant's tool calls say. Raises Refused for what is no text."""
    content = message.get("content")
    parts = [content] if isinstance(content, str) else []
    if isinstance(content, list):
        for number, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            text = part.get("text", part.get("refusal")) if isinstance(part, dict) else None
            if kind not in ("text", "input_text", "output_text", "refusal") or not isinstance(text, str):
                raise Refused(
                    400,
                    f"{where}.content[{number}] is of the type {kind!r}; only text can be checked here.",
                    "unchecked",
                )
            parts.append(text)
    elif content is not None and not isinstance(content, str):
        raise Refused(400, f"{where}.content must be a string or a list of parts.")
    rest = {key: value for key, value in message.items() if key not in ("content", "name")}
    return "\n".join(parts + [text for _, text in strings(rest)])


def with_text(message: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The message with another content; its other texts are left out, as the text that was checked had them."""
    kept = {key: value for key, value in message.items() if key in ("role", "name", "id", "tool_call_id")}
    return {**kept, "content": text}


def strings(value: object, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text in a message, with the way to it; whatever field a server or a client may put one in."""
    if isinstance(value, str):
        if value:
            yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in _SILENT:
                yield from strings(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from strings(inner, (*path, place))


def replaced(value: Any, texts: Mapping[Path, str], path: Path = ()) -> Any:
    """A copy of a message in which the texts at those ways are others."""
    if path in texts:
        return texts[path]
    if isinstance(value, dict):
        return {key: replaced(inner, texts, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, texts, (*path, place)) for place, inner in enumerate(value)]
    return value


def _too_deep(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
