"""A stream's events, each choice through its gate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from charter.guard.verdicts import Decision
from charter.server.asked import Asked
from charter.server.gate import ChoiceGate
from charter.server.guarding import Guarding
from charter.server.holdback import Pace
from charter.server.request import Handled
from charter.server.sse import DONE, BrokenStream, event
from charter.server.upstream import Stream, UpstreamFailed
from charter.server.wire import error_body, strings


class Relay:
    """Takes the data of an upstream's events and gives the events for the client."""

    def __init__(self, asked: Asked, guarding: Guarding, handled: Handled, pace: Pace) -> None:
        self._asked, self._guarding, self._handled, self._pace = asked, guarding, handled, pace
        self._gates: dict[int, ChoiceGate] = {}
        self._head: dict[str, Any] = {}
        self.over = False
        """Whether the upstream said that it is done."""

    async def take(self, data: str) -> list[dict[str, Any]]:
        """Events to send for one that came. Raises BrokenStream for what is no chunk."""
        if data == DONE:
            self.over = True
            return []
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise BrokenStream("the model behind the guard sent an event that is not JSON") from None
        if not isinstance(chunk, dict):
            raise BrokenStream("the model behind the guard sent an event that is no object")
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            # Usage, or an error of the upstream's: without choices there is no text of the model's.
            return [chunk] if set(chunk) <= _WITHOUT_TEXT else []
        self._head = {key: value for key, value in chunk.items() if key != "choices"}
        out = []
        for place, choice in enumerate(choices):
            if not isinstance(choice, dict):
                raise BrokenStream("the model behind the guard sent a choice that is no object")
            index = choice.get("index", place)
            for sent in await self._gate(index if isinstance(index, int) else place).take(choice):
                out.append({**self._head, "choices": [sent]})
        return out

    def leave(self) -> None:
        """Record what a client saw that went away before the end."""
        for gate in self._gates.values():
            gate.leave()

    async def end(self) -> list[dict[str, Any]]:
        """What was held when the upstream stopped without saying how a choice ended."""
        out = []
        for gate in self._gates.values():
            if not gate.over:
                out += [{**self._head, "choices": [sent]} for sent in await gate.finish()]
        return out

    def _gate(self, index: int) -> ChoiceGate:
        if index not in self._gates:
            conversation = self._asked.of(index)

            async def check(text: str) -> Decision:
                return await self._guarding.output(conversation, text)

            def told(decision: Decision, text: str) -> None:
                self._handled.note("output", decision, text)

            piece = "delta" if self._asked.kind == "chat" else "text"
            self._gates[index] = ChoiceGate(index, piece, check, told, self._pace)
        return self._gates[index]


_WITHOUT_TEXT = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"}
)


class Shadow(Relay):
    """Passes everything on as it came, and checks the texts at the end."""

    def __init__(self, asked: Asked, guarding: Guarding, handled: Handled, pace: Pace) -> None:
        super().__init__(asked, guarding, handled, pace)
        self._texts: dict[int, str] = {}

    async def take(self, data: str) -> list[dict[str, Any]]:
        """The event itself."""
        if data == DONE:
            self.over = True
            return []
        try:
            chunk: dict[str, Any] = json.loads(data)
            for choice in chunk.get("choices") or ():
                said = choice.get("delta", choice.get("text"))
                index = choice.get("index", 0)
                self._texts[index] = self._texts.get(index, "") + "".join(text for _, text in strings(said))
        except (ValueError, AttributeError, TypeError):
            raise BrokenStream("the model behind the guard sent an event that is no chunk") from None
        return [chunk]

    async def end(self) -> list[dict[str, Any]]:
        """Nothing; the decisions are recorded."""
        for index, text in self._texts.items():
            self._handled.note("output", await self._guarding.output(self._asked.of(index), text), text)
        return []


async def checked_stream(
    asked: Asked, stream: Stream, guarding: Guarding, handled: Handled, pace: Pace
) -> AsyncIterator[bytes]:
    """The upstream's events with every text behind what was checked.

    When the upstream breaks off, what was held stays held, and an error event ends the stream.
    """
    relay = (Shadow if handled.shadow else Relay)(asked, guarding, handled, pace)
    try:
        assert stream.events is not None
        async for data in stream.events:
            for out in await relay.take(data):
                yield event(out)
            if relay.over:
                break
        for out in await relay.end():
            yield event(out)
    except (UpstreamFailed, BrokenStream) as error:
        yield event(error_body(str(error), "upstream_failed"))
    except OSError:
        yield event(error_body("The decision could not be recorded, so nothing more is shown.", "not_recorded"))
    finally:
        relay.leave()
    yield event(DONE)
