"""Text that streams in and is let go only behind what was checked.

What arrives is kept until a check has passed that saw it together with at least `overlap` characters after it, so a
pattern of up to that length is seen whole before its first character goes on, wherever the stream was cut. A check
sees a window of bounded size, so a token costs the same at any length; the whole text is checked when its length has
doubled, and at its end.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from charter.guard.verdicts import Decision, Span, redacted

Check = Callable[[str], Awaitable[Decision]]
"""A text's decision; spans are in code points of that text."""

_SENTENCE: Final = re.compile(r"[.!?…。！？]['\")\]]*\s|\n")
_FIRST_WHOLE: Final = 2000


@dataclass(frozen=True)
class Pace:
    """overlap: characters held back, at least as long as the longest pattern.  step: new ones that call for a check.
    least: fewest new characters for which the end of a sentence is reason enough for one.
    """

    overlap: int = 200
    step: int = 240
    least: int = 40

    def __post_init__(self) -> None:
        if self.overlap < 1 or self.least < 1 or self.step < self.least:
            raise ValueError("overlap and least must be at least 1 and step at least as large as least")


@dataclass
class HoldBack:
    """One stream of text on its way out. Not for several tasks at once."""

    check: Check
    pace: Pace = field(default_factory=Pace)
    text: str = ""
    released: int = 0
    """Characters of `text` that went on, as they were or redacted."""
    stopped: Decision | None = None
    """The decision that ended the stream; nothing goes on after it."""
    last: Decision | None = None
    """The newest decision."""
    _checked: int = 0
    _whole_at: int = _FIRST_WHOLE

    async def feed(self, delta: str) -> str:
        """Take what arrived; what may go on now, often nothing. Nothing after a stop."""
        if self.stopped is not None:
            return ""
        self.text += delta
        if not self._is_time():
            return ""
        start = max(self.released - self.pace.overlap, 0)
        if len(self.text) >= self._whole_at:
            self._whole_at, start = 2 * len(self.text), 0
        return await self._pass(start, len(self.text) - self.pace.overlap)

    async def finish(self) -> str:
        """The rest, after a check of the whole text. Nothing when it is stopped."""
        if self.stopped is not None:
            return ""
        if not self.text:
            return ""
        return await self._pass(0, len(self.text))

    def _is_time(self) -> bool:
        new = len(self.text) - self._checked
        if new >= self.pace.step:
            return True
        # The sentence may have ended in what was there before, with its blank in what has come now.
        return new >= self.pace.least and _SENTENCE.search(self.text, max(self._checked - 1, 0)) is not None

    async def _pass(self, start: int, until: int) -> str:
        """Check the text from `start`, and let go what lies before `until` and in no span that reaches beyond it."""
        found = await self.check(self.text[start:])
        self.last = found
        self._checked = len(self.text)
        if found.stopped:
            self.stopped = found
            return ""
        spans = _hidden(found, start) if found.verdict == "redact" else ()
        for span in sorted(spans, key=lambda one: one.start, reverse=True):
            if span.start < until < span.end:
                until = span.start
        if until <= self.released:
            return ""
        first, self.released = self.released, until
        here = tuple(
            Span(max(span.start, first) - first, min(span.end, until) - first, span.kind)
            for span in spans
            if span.end > first and span.start < until
        )
        return redacted(self.text[first:until], here)


def _hidden(found: Decision, start: int) -> tuple[Span, ...]:
    """Spans to redact, in code points of the whole text."""
    return tuple(
        Span(span.start + start, span.end + start, span.kind)
        for record in found.layers
        if record.finding.verdict == "redact"
        for span in record.finding.spans
    )
