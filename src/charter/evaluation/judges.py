"""Judges by name, with everything that any of them may be made of: the one place that knows reward models too."""

from __future__ import annotations

from charter.ports import Judge, Reward


def named_judge(name: str) -> Judge:
    """`judges.registry.judge`, with reward models. Raises UserError as that does."""
    from charter.judges.registry import judge

    return judge(name, _reward_model)


def _reward_model(folder: str) -> Reward:
    from charter.training.reward_model import RewardModel

    return RewardModel(folder)
