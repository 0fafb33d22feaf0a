"""The guard's stack as the server asks it: off the event loop, whole conversations, checked turns remembered."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread

from charter.guard.stack import Stack
from charter.guard.verdicts import Decision
from charter.records import Conversation

_REMEMBERED: Final = 4096
_AT_ONCE: Final = 32
"""Checks under way in a server; others wait in their order."""


class Guarding:
    """Checks for one server. The stack can be exchanged while requests are under way: each check uses the newest."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._known: OrderedDict[bytes, Decision] = OrderedDict()
        self._lock = threading.Lock()
        self._limit = anyio.CapacityLimiter(_AT_ONCE)

    @property
    def stack(self) -> Stack:
        """The one in use."""
        return self._stack

    def exchange(self, stack: Stack) -> None:
        """Use another stack from now on; what was remembered of the old one is forgotten."""
        with self._lock:
            self._stack = stack
            self._known.clear()

    async def input(self, conversation: Conversation) -> dict[int, Decision]:
        """A decision by place of the message: of each user turn, and of each assistant's turn, as a caller may have
        forged it.

        What tools said is checked with the last user turn. Turns of earlier requests are remembered by their content,
        so a growing conversation costs its last turn.
        """
        users = [place for place, message in enumerate(conversation) if message.role == "user"]
        last = users[-1] if users else len(conversation) - 1
        found: dict[int, Decision] = {}
        for place, message in enumerate(conversation):
            if place == last:
                found[place] = await self._input(conversation)
            elif message.role == "user":
                found[place] = await self._input(conversation[: place + 1])
            elif message.role == "assistant" and message.content:
                found[place] = await self._said(conversation[: place + 1])
        return found

    async def output(self, conversation: Conversation, text: str) -> Decision:
        """The decision for what a model said."""
        return await self._run(lambda stack: stack.check_output(conversation, text))

    async def _input(self, conversation: Conversation) -> Decision:
        return await self._remembered("input", conversation, lambda stack: stack.check_input(conversation))

    async def _said(self, content: Conversation) -> Decision:
        """Of a conversation that ends with an assistant's turn."""
        *before, last = content
        return await self._remembered("output", content, lambda stack: stack.check_output(tuple(before), last.content))

    async def _remembered(self, side: str, content: Conversation, check: Callable[[Stack], Decision]) -> Decision:
        told = json.dumps([side, [(one.role, one.content) for one in content]]).encode()
        key = hashlib.sha256(told).digest()
        with self._lock:
            stack, known = self._stack, self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        found = await anyio.to_thread.run_sync(check, stack, limiter=self._limit)
        with self._lock:
            # A failed layer may be well again with the next request; of an exchanged stack nothing is kept.
            if stack is self._stack and found.verdict != "error":
                self._known[key] = found
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return found

    async def _run(self, check: Callable[[Stack], Decision]) -> Decision:
        return await anyio.to_thread.run_sync(check, self._stack, limiter=self._limit)
