"""The prompts that feedback methods ask: red-team and helpful ones, mixed, each with the clauses it may touch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from charter.document import Charter, Clause
from charter.errors import UserError
from charter.feedback.formats import read_prompts
from charter.feedback.pairs import load_benign_prompts, load_pairs
from charter.records import Conversation, Message, user_prompt

T = TypeVar("T")
PromptKind = Literal["red_team", "helpful"]


@dataclass(frozen=True, slots=True)
class MixedPrompt:
    """A prompt, what it is there for, and the ids of the clauses that it is known to touch (none: not known)."""

    id: str
    prompt: Conversation
    kind: PromptKind
    clauses: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The last user message."""
        return next((turn.content for turn in reversed(self.prompt) if turn.role == "user"), "")


def builtin_prompts(red_team: int | None, lookalikes: int | None, general: int | None, seed: int) -> list[MixedPrompt]:
    """Built-in prompts without their written answers: so many of each sort, drawn by the seed; None is all."""
    harmful, alike = load_pairs(("harmful",)), load_pairs(("lookalike",))
    benign = load_benign_prompts()
    return [
        *(
            MixedPrompt(p.id, user_prompt(p.prompt), "red_team", p.clauses)
            for p in drawn(harmful, red_team, f"{seed}/red_team")
        ),
        *(
            MixedPrompt(p.id, user_prompt(p.prompt), "helpful", p.clauses)
            for p in drawn(alike, lookalikes, f"{seed}/lookalikes")
        ),
        *(MixedPrompt(p.id, user_prompt(p.prompt), "helpful") for p in drawn(benign, general, f"{seed}/general")),
    ]


def file_prompts(path: str, split: str, kind: PromptKind, limit: int | None, seed: int) -> list[MixedPrompt]:
    """The prompts of a file in any format that is read, all of one kind. Raises UserError as `read_prompts` does."""
    found, _ = read_prompts(path, split)
    return [
        MixedPrompt(f"{path}:{row.id}", row.prompt, kind, row.clauses) for row in drawn(found, limit, f"{seed}/{path}")
    ]


def drawn(rows: Sequence[T], limit: int | None, seed: str) -> list[T]:
    """At most `limit` rows, drawn by the seed; all, in order, without one."""
    return list(rows) if limit is None else random.Random(seed).sample(list(rows), min(limit, len(rows)))


def taught_clauses(charter: Charter, wanted: Sequence[str] = ()) -> list[Clause]:
    """The clauses that feedback is made for: those of these ids, or all that name a way to train them.

    Raises UserError for an unknown id, or when nothing of the charter is to be trained.
    """
    if wanted:
        return [charter.clause(id) for id in wanted]
    found = [clause for clause in charter.clauses if clause.train]
    if not found:
        raise UserError(
            f"{charter.path}: no clause is trained, so there is nothing to give feedback on. Add `train: [contrast]` "
            "to the clauses that training shall teach."
        )
    return found


def drawn_clauses(prompt: MixedPrompt, clauses: Sequence[Clause], count: int, seed: int) -> list[Clause]:
    """`count` different clauses for a prompt, drawn by the seed: first those that it is known to touch, then others."""
    order = list(clauses)
    random.Random(f"{seed}/{prompt.id}").shuffle(order)
    return sorted(order, key=lambda clause: clause.id not in prompt.clauses)[:count]


def with_system(prompt: Conversation, text: str, shots: Conversation = ()) -> Conversation:
    """The conversation under one more instruction: before what its own system message says, which it keeps.

    shots: turns that stand between the system message and the conversation.
    """
    own = prompt[0].content if prompt and prompt[0].role == "system" else ""
    rest = prompt[1:] if own else prompt
    return (Message("system", f"{text}\n{own}".strip()), *shots, *rest)
