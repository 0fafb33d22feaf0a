"""Conversations: what a model is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from charter.errors import UserError

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Conversation = tuple[Message, ...]


def user_prompt(text: str, system: str | None = None) -> Conversation:
    """A one-turn conversation, with an optional system message before it."""
    head = (Message("system", system),) if system else ()
    return (*head, Message("user", text))


def conversation_of(row: Mapping[str, Any], where: str) -> Conversation:
    """The conversation in a row's `messages` (or its `prompt`, a string or a list of messages).

    Raises UserError naming `where` when neither is there or a message has no known role.
    """
    value = row.get("prompt") if row.get("messages") is None else row["messages"]
    if isinstance(value, str):
        if not value.strip():
            raise UserError(f"{where}: the prompt is empty. Give it some text or remove the row.")
        return user_prompt(value)
    if not isinstance(value, list) or not value:
        raise UserError(f'{where}: needs "prompt" (a string) or "messages" (a list of role and content).')
    turns: list[Message] = []
    for turn in value:
        if not isinstance(turn, Mapping) or turn.get("role") not in ("system", "user", "assistant", "tool"):
            raise UserError(f"{where}: every message needs a role (system, user, assistant or tool); got {turn!r}.")
        content = turn.get("content")
        if content is not None and not isinstance(content, str):
            raise UserError(f"{where}: a message's content must be a string; got {str(content)[:60]!r}.")
        turns.append(Message(turn["role"], content or ""))
    return tuple(turns)


def asked_of(prompt: Conversation) -> str:
    """The text that the completion answers: the last user message, or the whole prompt when there is none."""
    users = [message.content for message in prompt if message.role == "user"]
    return users[-1] if users else "\n".join(message.content for message in prompt)
