"""What the layers look at: one text, what surrounds it, and what they share about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from charter.guard.decoding import Plain, plain
from charter.guard.verdicts import Side
from charter.records import Conversation, asked_of

EARLIER: Final = 3
"""Earlier user messages that are read along with the last."""


@dataclass(frozen=True)
class Subject:
    """A text on its way in or out. Layers only read it.

    text: what is checked, and what spans point into: the last user message on the way in, the completion on the way
    out. conversation: everything that the model is given. context: documents or tool results supplied beside it, not
    trusted. `plain` is computed once for all layers.
    """

    text: str
    side: Side
    conversation: Conversation = ()
    context: str = ""

    @cached_property
    def plain(self) -> Plain:
        """The text without its disguises, and what was encoded in it."""
        return plain(self.text)

    @property
    def untrusted(self) -> str:
        """Text in the prompt that no user wrote: tool results and the context."""
        tools = [message.content for message in self.conversation if message.role == "tool"]
        return "\n\n".join(part for part in (*tools, self.context) if part)

    @property
    def earlier(self) -> tuple[str, ...]:
        """The user's messages before the last, the newest EARLIER of them: a client can write any history it likes."""
        users = [message.content for message in self.conversation if message.role == "user"]
        return tuple(text for text in users[:-1][-EARLIER:] if text.strip())

    @property
    def system(self) -> str:
        """The operator's instructions."""
        return "\n".join(message.content for message in self.conversation if message.role == "system")

    @property
    def asked(self) -> str:
        """What the completion answers: the last user message, or the whole prompt when there is none."""
        return asked_of(self.conversation)
