"""Conversations as people write them: role and content, from and value, `Human:`/`Assistant:` transcripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from charter.errors import UserError
from charter.feedback.formats.source_rows import SourceRow, Unusable, as_number
from charter.records import Conversation, Message, Role, user_prompt

ROLES: Final[Mapping[str, Role]] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
_OPEN_TRANSCRIPT = re.compile(r"\s*Human: .*\n\nAssistant:\s*\Z", re.DOTALL)
_TOOL_CALLS = ("tool_calls", "function_call")


def conversation(value: Any, where: str) -> Conversation:
    """A list of messages (or a single one) as a conversation.

    Raises UserError naming `where` for anything else, and Unusable for turns that text cannot hold.
    """
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, list) or not turns:
        raise UserError(f"{where}: a list of messages is needed, each with role and content; got {str(value)[:60]!r}.")
    return tuple(_message(turn, where) for turn in turns)


def _message(turn: Any, where: str) -> Message:
    name = (turn.get("role") or turn.get("from")) if isinstance(turn, Mapping) else None
    if name == "function_call" or (isinstance(turn, Mapping) and any(turn.get(key) for key in _TOOL_CALLS)):
        raise Unusable(where, "has a turn with tool calls, which plain text cannot hold")
    if not isinstance(turn, Mapping) or not isinstance(name, str) or name not in ROLES:
        raise UserError(
            f"{where}: every message needs a role (system, user, assistant or tool); got {str(turn)[:120]!r}."
        )
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    return Message(ROLES[name], _text(content, where))


def _text(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise UserError(f"{where}: a message's content must be a string; got {str(content)[:60]!r}.")
    if any(part.get("type") != "text" for part in content):
        raise Unusable(where, "has a turn with parts that are not text")
    return "".join(str(part.get("text") or part.get("value") or "") for part in content)


def parse_transcript(text: str, where: str) -> Conversation:
    """hh-rlhf's `\\n\\nHuman: …\\n\\nAssistant: …` as messages. Raises UserError when it is not one."""
    parts = _TURN.split(text)
    if len(parts) < 3 or parts[0].strip():
        raise UserError(
            f'{where}: plain text without a prompt, and not a `Human:`/`Assistant:` transcript. Add the "prompt".'
        )
    turns = [
        Message("user" if parts[i] == "Human" else "assistant", parts[i + 1].strip()) for i in range(1, len(parts), 2)
    ]
    return tuple(turns)


def is_transcript(value: Any) -> bool:
    """Whether a value is text that begins as a transcript does."""
    return isinstance(value, str) and bool(_TURN.match(value.lstrip()))


def finished(turns: Conversation, where: str) -> tuple[Conversation, str]:
    """(prompt, last assistant turn) of a whole conversation. Only that turn is trained: the rest is its prompt.

    Raises Unusable when it does not end with an assistant's turn, or when nothing comes before.
    """
    if turns[-1].role != "assistant":
        raise Unusable(where, "ends without an assistant's turn")
    if not any(turn.role == "user" for turn in turns[:-1]):
        raise Unusable(where, "has no user's turn before the assistant's")
    return turns[:-1], turns[-1].content


def weighted(value: Any, turns: Conversation, where: str) -> tuple[Conversation, tuple[float, ...]]:
    """(`turns` as far as they are trained, weights of their assistant turns); no weights where no message has one.

    value: the messages as they stand in the row.  A weight is OpenAI's `weight` or LLaMA-Factory's `loss_weight`; in
    a conversation that has one, an assistant's message without counts 1, as it does there. What comes after the last
    turn with a weight above 0 changes no loss and is left out.
    Raises Unusable when no turn has a weight above 0, or one that has comes before any user's turn.
    """
    spoken = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    given = [_weight(value[i], where) for i in spoken] if isinstance(value, list) else []
    if all(weight is None for weight in given):
        return turns, ()
    weights = [1.0 if weight is None else weight for weight in given]
    trained = [i for i, weight in zip(spoken, weights, strict=True) if weight > 0]
    if not trained:
        raise Unusable(where, "gives all its assistant turns the weight 0")
    if not any(turn.role == "user" for turn in turns[: trained[0]]):
        raise Unusable(where, "has no user's turn before the assistant's", "Give a greeting the weight 0.")
    end = trained[-1] + 1
    return turns[:end], tuple(weight for i, weight in zip(spoken, weights, strict=True) if i < end)


def _weight(message: Any, where: str) -> float | None:
    weight = message.get("weight") if message.get("weight") is not None else message.get("loss_weight")
    number = as_number(weight)
    if weight is not None and (number is None or number < 0):
        raise UserError(f"{where}: a message's weight must be a number from 0; got {str(weight)[:60]!r}.")
    return number


def prompt_of(row: SourceRow) -> Conversation | None:
    """The prompt in a row's `prompt`, `messages`, `conversations`, `instruction` or `question`; None when it has none.

    A `system` column goes before it and Alpaca's `history` of earlier exchanges as well. A prompt that ends with the
    assistant's turn is refused: what follows it is nobody's answer.
    """
    values = row.values
    name = next((n for n in ("prompt", "messages", "conversations", "instruction", "question") if values.get(n)), None)
    if name is None:
        return None
    value = values[name]
    if name == "instruction":
        turns: Conversation = user_prompt(_instruction(row))
    elif isinstance(value, str):
        if not value.strip():
            return None
        turns = parse_transcript(value, row.where)[:-1] if _OPEN_TRANSCRIPT.match(value) else user_prompt(value)
    else:
        turns = conversation(value, row.where)
        if turns[-1].role == "assistant":
            raise row.malformed(f'"{name}" is the prompt, but its last message is the assistant\'s')
    return _before(row) + turns


def _instruction(row: SourceRow) -> str:
    """Alpaca's instruction with its input (Dolly calls it context) after a blank line."""
    parts = [row.values["instruction"], row.values.get("input") or row.values.get("context") or ""]
    if not all(isinstance(part, str) for part in parts):
        raise row.malformed('"instruction" and "input" must be strings')
    return "\n\n".join(part for part in parts if part.strip())


def _before(row: SourceRow) -> Conversation:
    turns: list[Message] = []
    if system := row.values.get("system"):
        if not isinstance(system, str):
            raise row.malformed('"system" must be a string')
        turns.append(Message("system", system))
    for exchange in row.values.get("history") or ():
        if not isinstance(exchange, list) or [type(side) for side in exchange] != [str, str]:
            raise row.malformed('"history" must be a list of [question, answer] pairs')
        turns += [Message("user", exchange[0]), Message("assistant", exchange[1])]
    return tuple(turns)
