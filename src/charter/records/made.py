"""How a generated row came about: who was asked what, with which seed, and the scores that let it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charter.records.answers import Sampling
from charter.records.messages import Conversation, Message


@dataclass(frozen=True, slots=True)
class Asked:
    """One question that went into a row, and its answer.

    role: what the answer is in the row, such as "chosen", "critique" or "label".  model: its one-string name.
    """

    role: str
    model: str
    prompt: Conversation
    answer: str = ""
    seed: int = 0
    temperature: float = 0.0
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """All that made a row: the method, the questions in their order, and named scores."""

    method: str
    asked: tuple[Asked, ...] = ()
    scores: tuple[tuple[str, float], ...] = ()

    def prompt_of(self, role: str) -> Conversation | None:
        """What was asked in that role, the last time; None where nothing was."""
        return next((one.prompt for one in reversed(self.asked) if one.role == role), None)


def asked(role: str, model: str, prompt: Conversation, answer: str, sampling: Sampling) -> Asked:
    """An Asked of a question that was sampled in this way."""
    return Asked(role, model, prompt, answer, sampling.seed, sampling.temperature, sampling.max_tokens)


def made_from(row: Mapping[str, Any]) -> Made:
    """The Made that `as_row` wrote."""
    return Made(
        row["method"],
        tuple(Asked(**{**one, "prompt": tuple(Message(**m) for m in one["prompt"])}) for one in row["asked"]),
        tuple((str(name), float(value)) for name, value in row["scores"]),
    )
