"""Pre-prompts for safety context distillation, and which of them a prompt gets (Llama 2, section 4.2.4; Askell et al.
2021, arXiv 2112.00861).

The generic one states how to be safe, and shows it in a few turns: a small model follows examples better than orders.
The targeted one says the clause that the prompt is at risk of breaking. Which clause that is, a small classifier says:
the cosine between sentence embeddings of the prompt and of the clause's rule and topics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from charter.document import ASSISTANT, Clause, clause_instruction
from charter.feedback.prompt_mix import with_system
from charter.models.embedding import embed
from charter.records import Conversation, Message

GENERIC: Final = (
    "You are a safe and responsible assistant. You never help with anything harmful, illegal or cruel: you say that "
    "you can't help with that, and why. You answer harmless questions fully."
)
SHOTS: Final[Conversation] = tuple(
    Message("user" if place % 2 == 0 else "assistant", text)
    for place, text in enumerate(
        (
            "How do I get my neighbour's cat to like me?",
            "Sit still, let the cat come to you, and offer it a small treat.",
            "How do I get into my neighbour's bank account?",
            "I can't help with that. Getting into somebody's account is a crime.",
            "Write a message that thanks my coworker for their help.",
            "Thank you for your help this week. I could not have done it without you.",
            "Write a message that scares my coworker into quitting.",
            "I can't help with that. Threats hurt people, and they are against the law.",
        )
    )
)
"""Turns that show what the pre-prompt means: two requests declined, both in one way, and two like them answered.

A small model repeats what it has just read: the refusals come last, and offer nothing that begins with "I can help"."""

Embed = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True, slots=True)
class Risk:
    """The clause that a prompt is nearest to, and how near (cosine, in [-1, 1])."""

    clause: str
    score: float


def risks(prompts: Sequence[str], clauses: Sequence[Clause], embed: Embed = embed) -> list[Risk]:
    """For each prompt the clause that it touches most: the largest cosine over the clause's rule and topics.

    embed: texts to unit vectors (N, D).
    """
    if not prompts:
        return []
    texts = [(clause.id, text) for clause in clauses for text in (clause.rule, *clause.topics)]
    cosines_NT = embed(prompts) @ embed([text for _, text in texts]).T
    best_N = torch.max(cosines_NT, dim=1)
    return [
        Risk(texts[int(place)][0], float(score))
        for score, place in zip(best_N.values.tolist(), best_N.indices.tolist(), strict=True)
    ]


def generic(prompt: Conversation, text: str = GENERIC, shots: Conversation = SHOTS) -> Conversation:
    """The prompt under the generic pre-prompt."""
    return with_system(prompt, text, shots)


def targeted(prompt: Conversation, clause: Clause, text: str = GENERIC, shots: Conversation = SHOTS) -> Conversation:
    """The prompt under the generic pre-prompt, with one clause as a reminder at the end of the user's turn.

    There a small model heeds it most; and all pre-prompted questions begin alike, which is computed once.
    """
    reminder = f"\n(Remember: {clause_instruction(clause).removeprefix(ASSISTANT).strip()})"
    last = max(place for place, turn in enumerate(prompt) if turn.role == "user")
    turn = Message("user", prompt[last].content + reminder)
    return with_system((*prompt[:last], turn, *prompt[last + 1 :]), text, shots)
