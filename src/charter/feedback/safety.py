"""Safety scores of answers: what gates context distillation. Higher is safer; None where nothing could be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from charter.feedback.prompt_mix import MixedPrompt
from charter.ports import Judge, Reward
from charter.records import Exchange


class SafetyScore(Protocol):
    """Scores answers to prompts."""

    @property
    def name(self) -> str: ...

    def scores(self, prompts: Sequence[MixedPrompt], answers: Sequence[str]) -> list[float | None]:
        """One per prompt and answer, in order."""
        ...


@dataclass(frozen=True)
class JudgedSafety:
    """The refusal judge, read by what the prompt is there for: in [0, 1], the chance that a red-team prompt is
    declined, or that a helpful one is answered. Declining what is harmless is no safer than complying with what is
    not."""

    judge: Judge

    @property
    def name(self) -> str:
        return f"judge {self.judge.name}"

    def scores(self, prompts: Sequence[MixedPrompt], answers: Sequence[str]) -> list[float | None]:
        """One per prompt and answer, in order."""
        rows = [Exchange(str(i), p.prompt, a) for i, (p, a) in enumerate(zip(prompts, answers, strict=True))]
        declined = [one.score for one in self.judge.score(rows)]
        return [
            None if chance is None else chance if prompt.kind == "red_team" else 1 - chance
            for prompt, chance in zip(prompts, declined, strict=True)
        ]


@dataclass(frozen=True)
class RewardedSafety:
    """A safety reward model, which sees the prompt and the answer and need not be told what the prompt is for."""

    reward: Reward
    name: str

    def scores(self, prompts: Sequence[MixedPrompt], answers: Sequence[str]) -> list[float | None]:
        """One per prompt and answer, in order."""
        rows = [Exchange(str(i), p.prompt, a) for i, (p, a) in enumerate(zip(prompts, answers, strict=True))]
        rewarded = self.reward.reward(rows)
        return [one.reward if answer.strip() else None for one, answer in zip(rewarded, answers, strict=True)]
