"""What a request for completions asks: its prompts as conversations, whatever shape they came in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from charter.records import Conversation, user_prompt
from charter.server.wire import Refused, conversation_of

Kind = Literal["chat", "text"]


@dataclass(frozen=True)
class Asked:
    """A request that may go on. conversations: one for each prompt; body: as the upstream gets it."""

    kind: Kind
    conversations: tuple[Conversation, ...]
    body: dict[str, Any]

    def of(self, index: int) -> Conversation:
        """What a choice answers; choices are numbered prompt by prompt."""
        per_prompt = self.body.get("n") or 1
        place = index // per_prompt if isinstance(per_prompt, int) and per_prompt > 0 else 0
        return self.conversations[min(place, len(self.conversations) - 1)]


def asked_chat(body: dict[str, Any]) -> Asked:
    """A chat request. Raises Refused."""
    return Asked("chat", (conversation_of(body.get("messages")),), body)


def asked_text(body: dict[str, Any], decode: Callable[[Sequence[int]], str] | None = None) -> Asked:
    """A completion request. decode: token ids to text, where a tokenizer is known. Raises Refused."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        prompts = [prompt]
    elif isinstance(prompt, list) and prompt and all(isinstance(one, str) for one in prompt):
        prompts = prompt
    elif isinstance(prompt, list) and prompt and all(isinstance(one, list | int) for one in prompt):
        if decode is None:
            raise Refused(
                400, "Prompts of token ids cannot be checked: the guard was started without --tokenizer.", "unchecked"
            )
        prompts = [decode(one) for one in (prompt if isinstance(prompt[0], list) else [prompt])]
    else:
        raise Refused(400, "`prompt` must be a string, a list of strings, or token ids.")
    return Asked("text", tuple(user_prompt(one) for one in prompts), body)
