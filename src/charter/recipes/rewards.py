"""Rewards as settings name them: loaded, or only known by what they are."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from charter.errors import UserError
from charter.evaluation.judges import named_judge
from charter.judges.registry import is_judge, judge_digest
from charter.models.loading import named_digest
from charter.ports import Reward
from charter.store.runfolder import file_digest
from charter.training.catalogue import CATALOGUE
from charter.training.policy_settings import ConstrainedSettings
from charter.training.reward_endpoint import EndpointReward
from charter.training.reward_model import PENALTY, RewardModel, check_heads
from charter.training.reward_rules import RuleReward
from charter.training.reward_sources import (
    FunctionReward,
    JudgeReward,
    RewardPart,
    Weighed,
    WeightedSum,
    function_named,
)
from charter.training.rollouts import RolloutSettings

Sampling = TypeVar("Sampling", bound=RolloutSettings)


def reward_of(parts: Sequence[RewardPart]) -> WeightedSum:
    """What the settings name, loaded. Raises UserError for what is not there."""
    return WeightedSum(reward_digest(parts), _weighed(parts))


def cost_of(parts: Sequence[RewardPart]) -> WeightedSum:
    """What the settings name as costs, loaded: of a cost model its cost, of anything else its number."""
    signed = [replace(one, weight=-one.weight) if _is_cost(one.reward) else one for one in _weighed(parts)]
    return WeightedSum(reward_digest(parts), signed)


def aims_of(settings: RolloutSettings) -> tuple[RewardPart, ...]:
    """All that settings name to be scored by: rewards, and the costs of a constraint."""
    return settings.reward + ((settings.cost or ()) if isinstance(settings, ConstrainedSettings) else ())


def with_stages(settings: Sampling, models: Mapping[str, str]) -> Sampling:
    """The settings with `of_stages` for rewards and costs."""
    update = {"reward": of_stages(settings.reward, models)}
    if isinstance(settings, ConstrainedSettings) and settings.cost is not None:
        update["cost"] = of_stages(settings.cost, models)
    return settings.model_copy(update=update)


def of_stages(parts: Sequence[RewardPart], models: Mapping[str, str]) -> tuple[RewardPart, ...]:
    """The parts with the reward models that stages trained (by method) in the place of the stages' names."""
    return tuple(
        part if part.stage is None else part.model_copy(update={"stage": None, "model": models[part.stage]})
        for part in parts
    )


def check_rewards(parts: Sequence[RewardPart], earlier: Collection[str] = ()) -> None:
    """Raises UserError for a reward that is not there, without loading a model or a judge.

    earlier: methods of the recipe's stages that come before.
    """
    for part in parts:
        if part.stage is not None:
            if part.stage not in earlier or CATALOGUE[part.stage].gives != "reward":
                raise UserError(
                    f'reward: no stage before this one trains a reward model by the method "{part.stage}". Put one '
                    "there, such as `- method: reward`, or name a reward model's folder with `model:`."
                )
        elif part.folders:
            check_heads(part.folders, part.read)
        elif part.function is not None:
            function_named(part.function)
        elif part.judge is not None and not is_judge(part.judge):
            named_judge(part.judge)


def reward_digest(parts: Sequence[RewardPart]) -> str:
    """sha256 of what the rewards are: settings, and the content of models and of functions' files."""
    return hashlib.sha256("\n".join(f"{part!r} {_content(part)}" for part in parts).encode()).hexdigest()


def _weighed(parts: Sequence[RewardPart]) -> list[Weighed]:
    """The parts, loaded; two of one label are told apart by their place."""
    labels = [part.label for part in parts]
    told = [label if labels.count(label) == 1 else f"{label} {place}" for place, label in enumerate(labels, 1)]
    return [Weighed(label, _loaded(part), part.weight) for label, part in zip(told, parts, strict=True)]


def _is_cost(reward: Reward) -> bool:
    return isinstance(reward, RewardModel) and reward.kind == "cost"


def _loaded(part: RewardPart) -> Reward:
    if part.endpoint is not None:
        return EndpointReward(part.endpoint)
    if part.rule is not None:
        return RuleReward(part.rule)
    if part.folders:
        return RewardModel(part.folders, part.read, PENALTY if part.penalty is None else part.penalty)
    if part.function is not None:
        return FunctionReward(part.function, function_named(part.function))
    return JudgeReward(named_judge(str(part.judge)))


def _content(part: RewardPart) -> str:
    if part.folders:
        return " ".join(map(named_digest, part.folders))
    if part.endpoint is not None or part.rule is not None:
        return ""
    if part.function is not None:
        function_named(part.function)
        spec = importlib.util.find_spec(part.function.partition(":")[0])
        origin = spec.origin if spec else None
        return file_digest(Path(origin)) if origin and Path(origin).is_file() else ""
    return judge_digest(str(part.judge))
