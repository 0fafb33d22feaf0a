"""A reward model as a judge: the chance of being preferred, through a real reward model folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from charter.errors import UserError
from charter.evaluation.judges import named_judge
from charter.judges.by_reward import RewardJudge
from charter.judges.registry import judge
from charter.ports import Progress
from charter.records import Exchange, Rewarded, user_prompt


class ByLength:
    """A reward: characters less 5; nothing for what says "skip"."""

    name = "length"

    def reward(
        self,
        rows: Sequence[Exchange],
        progress: Progress | None = None,  # noqa: ARG002
    ) -> list[Rewarded]:
        return [
            Rewarded(row.id, unscored="asked to")
            if "skip" in row.completion
            else Rewarded(row.id, len(row.completion) - 5)
            for row in rows
        ]


def test_scores_are_sigmoids_and_unscored_stays() -> None:
    rows = [Exchange(text, user_prompt("q"), text) for text in ("seven77", "abc", "skip", "x" * 2000)]
    scores = RewardJudge(ByLength()).score(rows)
    assert [one.label for one in scores] == ["good", "bad", None, "good"]
    assert scores[0].score == pytest.approx(1 / (1 + math.exp(-2)))
    assert scores[1].score == pytest.approx(1 / (1 + math.exp(2)))
    assert scores[2].unscored == "asked to"
    assert scores[3].score == 1.0
    higher = RewardJudge(ByLength(), 4.0)
    assert [one.label for one in higher.score(rows)][:2] == ["bad", "bad"]
    assert higher.name == "reward:length@4"


def test_a_real_reward_model_by_name(tiny_base: Path, tmp_path: Path) -> None:
    from tiny import exchanges, preferences

    from charter.training.methods.reward import RewardSettings, train_reward
    from charter.training.reward_model import RewardModel

    pairs = preferences(4)
    trained = train_reward(str(tiny_base), pairs, RewardSettings(epochs=2, batch_size=4), tmp_path / "run")
    rows = exchanges(pairs)
    found = named_judge(f"reward:{trained.model}").score(rows)
    rewards = RewardModel(str(trained.model)).reward(rows)
    for one, rewarded in zip(found, rewards, strict=True):
        assert rewarded.reward is not None
        assert one.score == pytest.approx(1 / (1 + math.exp(-rewarded.reward)), abs=1e-6)
    moved = named_judge(f"reward:{trained.model}@1.5").score(rows)
    assert rewards[0].reward is not None
    assert moved[0].score == pytest.approx(1 / (1 + math.exp(1.5 - rewards[0].reward)), abs=1e-6)
    with pytest.raises(UserError, match="charter judge"):
        judge(f"reward:{trained.model}")
