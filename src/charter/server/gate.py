"""One choice of a streamed answer on its way to the client: each of its texts behind what was checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from charter.guard.verdicts import Decision
from charter.server.holdback import HoldBack, Pace
from charter.server.wire import Path, strings

FILTERED: Final = "content_filter"
Check = Callable[[str], Awaitable[Decision]]
Told = Callable[[Decision, str], None]
"""Called with each decision that ends a choice or a text of it, and the text that it was about."""
_PASSED: Final = ("role",)


@dataclass
class ChoiceGate:
    """Takes a choice's pieces as they come and gives those that may go on.

    piece: the key of a piece in a choice: `delta` of a chat, `text` of a completion.
    Texts directly in a piece stream through a HoldBack each; anything built of parts (tool calls, audio transcripts) is
    held until it is whole and then checked together. Log-probs go on with the text that they belong to, and not at all
    once something was redacted, as they name the tokens.
    """

    index: int
    piece: str
    check: Check
    told: Told
    pace: Pace = field(default_factory=Pace)
    over: bool = False
    _texts: dict[str, HoldBack] = field(default_factory=dict)
    _held: list[dict[str, Any]] = field(default_factory=list)
    _logprobs: list[tuple[int, Any]] = field(default_factory=list)
    _told_all: bool = False

    async def take(self, choice: dict[str, Any]) -> list[dict[str, Any]]:
        """Choices to send for one that came; none after the end of this one."""
        if self.over:
            return []
        out: list[dict[str, Any]] = []
        piece = choice.get(self.piece)
        for key, value in self._parts(piece).items():
            if isinstance(value, str) and key not in _PASSED:
                out += self._go_on(key, await self._text(key).feed(value))
            elif key in _PASSED or value is None:
                out.append(self._choice({key: value}))
            else:
                self._held.append({key: value})
        self._note_logprobs(choice.get("logprobs"))
        if any(text.stopped for text in self._texts.values()):
            return [*out, self._stopped()]
        finish = choice.get("finish_reason")
        if finish is not None:
            out += await self.finish()
            if not self.over:
                self.over = True
                rest = {key: value for key, value in choice.items() if key not in (self.piece, "logprobs")}
                out.append({**rest, **self._choice({})})
                out[-1]["finish_reason"] = finish
        return out

    async def finish(self) -> list[dict[str, Any]]:
        """What was held, after the last check; the end, when it is stopped."""
        out: list[dict[str, Any]] = []
        for key, text in self._texts.items():
            out += self._go_on(key, await text.finish())
            if text.stopped is not None:
                return [*out, self._stopped()]
        if self._held:
            whole = _joined(self._held)
            found = await self.check(whole)
            # A redacted part of a tool call would be another call: such a call is not made.
            if found.stopped or found.verdict == "redact":
                self.told(found, whole)
                self.over = True
                return [*out, self._choice({}, FILTERED)]
            out += [self._choice(held) for held in self._held]
        for text in self._texts.values():
            if text.last is not None:
                self.told(text.last, text.text)
        self._told_all = True
        return out

    def leave(self) -> None:
        """Tell what is known of texts that went on in part, when nobody listens any more."""
        if not self.over and not self._told_all:
            for text in self._texts.values():
                if text.last is not None and text.released:
                    self.told(text.last, text.text[: text.released])

    def _parts(self, piece: object) -> dict[str, Any]:
        if isinstance(piece, dict):
            return piece
        return {self.piece: piece} if isinstance(piece, str) else {}

    def _text(self, key: str) -> HoldBack:
        if key not in self._texts:
            self._texts[key] = HoldBack(self.check, self.pace)
        return self._texts[key]

    def _go_on(self, key: str, text: str) -> list[dict[str, Any]]:
        if not text:
            return []
        choice = self._choice({key: text})
        if key in ("content", "text") and (known := self._due(self._texts[key])):
            choice["logprobs"] = {"content": known}
        return [choice]

    def _note_logprobs(self, found: object) -> None:
        entries = found.get("content") if isinstance(found, dict) else None
        text = self._texts.get("content")
        if isinstance(entries, list) and text is not None:
            self._logprobs.append((len(text.text), entries))

    def _due(self, text: HoldBack) -> list[Any]:
        """Log-probs of text that went on as it was."""
        if text.last is not None and text.last.verdict == "redact":
            self._logprobs.clear()
        due = [entries for end, entries in self._logprobs if end <= text.released]
        self._logprobs = [one for one in self._logprobs if one[0] > text.released]
        return [entry for entries in due for entry in entries]

    def _choice(self, piece: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        shown: Any = piece if self.piece == "delta" else piece.get("text", "")
        return {"index": self.index, self.piece: shown, "logprobs": None, "finish_reason": finish}

    def _stopped(self) -> dict[str, Any]:
        self.over = True
        for text in self._texts.values():
            if text.stopped is not None:
                self.told(text.stopped, text.text)
        return self._choice({}, FILTERED)


def _joined(held: list[dict[str, Any]]) -> str:
    """All texts of the held pieces; pieces of one text, such as a call's arguments, as one."""
    whole: dict[Path, str] = {}
    for piece in held:
        for path, text in strings(_by_index(piece)):
            whole[path] = whole.get(path, "") + text
    return "\n".join(whole.values())


def _by_index(value: Any) -> Any:
    """Lists of indexed parts as objects, so that later pieces of a part have the same way to them."""
    if isinstance(value, dict):
        return {key: _by_index(inner) for key, inner in value.items()}
    if isinstance(value, list):
        if all(isinstance(inner, dict) and "index" in inner for inner in value):
            return {f"#{inner['index']}": _by_index(inner) for inner in value}
        return [_by_index(inner) for inner in value]
    return value
