"""Size limits: what is too long to be checked in time is stopped before anything reads it."""

from __future__ import annotations

from typing import Final

from charter.guard.subject import Subject
from charter.guard.verdicts import Finding

MAX_CHARACTERS: Final = 100_000
MAX_MESSAGES: Final = 500


class LimitsLayer:
    """Blocks texts over the limits: the text itself, or all that surrounds it."""

    name = "limits"

    def __init__(self, max_characters: int = MAX_CHARACTERS, max_messages: int = MAX_MESSAGES) -> None:
        self._characters, self._messages = max_characters, max_messages

    def check(self, subject: Subject) -> Finding:
        size = max(
            len(subject.text), len(subject.context), *(len(message.content) for message in subject.conversation), 0
        )
        if size > self._characters:
            return Finding("block", 1.0, ("limits",), reason=f"{size} characters; at most {self._characters}")
        if len(subject.conversation) > self._messages:
            reason = f"{len(subject.conversation)} messages; at most {self._messages}"
            return Finding("block", 1.0, ("limits",), reason=reason)
        return Finding(score=0.0)
