"""Rewrites as parts that can be put one after another: `base64+persona` encodes the request, then tells the story."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

from charter.records import Conversation, Message, user_prompt
from charter.redteam.protocol import Answer, Behaviour, NotPossible, Query, Search, Setting, Spec

Step = Generator[list[Query], list[Answer], Conversation]
Rewrite = Callable[[Conversation, Setting], Step]
"""From one conversation to another; a generator, because some ask a helper (a translator) on the way."""


@dataclass(frozen=True, slots=True)
class Part:
    """A named rewrite with its variants, the most promising first."""

    spec: Spec
    variants: tuple[Rewrite, ...]


@dataclass(frozen=True, slots=True)
class Rewriting:
    """One part, or several in a row, as an attack: variant after variant until one gets through."""

    spec: Spec
    parts: tuple[Part, ...]

    def search(self, behaviour: Behaviour, setting: Setting) -> Search:
        """At most `setting.budget` variants. A variant that cannot be made is passed over; NotPossible if all are."""
        refused: NotPossible | None = None
        asked = 0
        for chain in itertools.product(*(part.variants for part in self.parts)):
            if asked >= setting.budget:
                return
            conversation = user_prompt(behaviour.text)
            try:
                for rewrite in chain:
                    conversation = yield from rewrite(conversation, setting)
            except NotPossible as reason:
                refused = reason
                continue
            asked += 1
            (answer,) = yield [Query(conversation, setting.sampling)]
            if answer.success:
                return
        if not asked and refused is not None:
            raise refused


def composed(name: str, parts: Sequence[Part]) -> Rewriting:
    """The parts in their order as one attack, with all their techniques."""
    if len(parts) == 1:
        return Rewriting(parts[0].spec, tuple(parts))
    techniques = tuple(dict.fromkeys(t for part in parts for t in part.spec.techniques))
    summary = ", then ".join(part.spec.name for part in parts)
    needs = tuple(dict.fromkeys(need for part in parts for need in part.spec.needs))
    return Rewriting(Spec(name, "composed", techniques, f"Composed: {summary}.", needs), tuple(parts))


def on_request(change: Callable[[str], str]) -> Rewrite:
    """A rewrite of the last user message's text."""

    def rewrite(conversation: Conversation, _setting: Setting) -> Step:
        return with_request(conversation, change(request_of(conversation)))
        yield []  # what makes it a generator

    return rewrite


def on_conversation(change: Callable[[Conversation, Setting], Conversation]) -> Rewrite:
    """A rewrite of the whole conversation."""

    def rewrite(conversation: Conversation, setting: Setting) -> Step:
        return change(conversation, setting)
        yield []

    return rewrite


def wrapped(*templates: str) -> tuple[Rewrite, ...]:
    """A variant for each template, which holds `{request}` once."""
    return tuple(on_request(partial(_filled, template)) for template in templates)


def _filled(template: str, request: str) -> str:
    return template.replace("{request}", request)


def request_of(conversation: Conversation) -> str:
    """The text of the last user message. Raises NotPossible when there is none."""
    for message in reversed(conversation):
        if message.role == "user":
            return message.content
    raise NotPossible("the conversation has no user message left to rewrite")


def with_request(conversation: Conversation, text: str) -> Conversation:
    """The conversation with another last user message."""
    at = max(i for i, message in enumerate(conversation) if message.role == "user")
    return (*conversation[:at], Message("user", text), *conversation[at + 1 :])
