"""A reward model as a judge: a completion is good when its reward lies above a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from charter.ports import Reward
from charter.records import Exchange, Score


@dataclass(frozen=True)
class RewardJudge:
    """Implements ports.Judge. Labels: good, bad; `score` is sigmoid(reward - threshold).

    Under Bradley and Terry's model (1952) that is the chance that the completion is preferred to one whose reward is
    the threshold. Reward models here are centred on the completions they were trained on, so 0 is their average.
    """

    model: Reward
    threshold: float = 0.0
    labels: ClassVar[tuple[str, ...]] = ("good", "bad")

    @property
    def name(self) -> str:
        """The reward model's, with the threshold where it is not 0."""
        return f"reward:{self.model.name}" + (f"@{self.threshold:g}" if self.threshold else "")

    def score(self, rows: Sequence[Exchange]) -> list[Score]:
        """One score per row, same order, same ids; what the reward model leaves unscored stays unscored."""
        scores = []
        for one in self.model.reward(rows):
            if one.reward is None:
                scores.append(Score(one.id, self.name, unscored=one.unscored or "the reward model gave no reward"))
                continue
            chance = _sigmoid(one.reward - self.threshold)
            scores.append(Score(one.id, self.name, label="good" if chance > 0.5 else "bad", score=chance))
        return scores


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
