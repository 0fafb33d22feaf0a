"""Rewards as settings name them: loaded, or only known by what they are."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from charter.errors import UserError
from charter.judges.registry import judge, judge_names
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
from charter.training.settings import TrainSettings
from charter.training.watch_settings import WatchSettings

Settings = TypeVar("Settings", bound=TrainSettings)


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


def with_stages(settings: Settings, models: Mapping[str, str]) -> Settings:
    """The settings with `of_stages` for rewards, costs and the truths of a watch."""
    update: dict[str, Any] = {}
    if isinstance(settings, RolloutSettings):
        update["reward"] = of_stages(settings.reward, models)
    watch: WatchSettings | None = getattr(settings, "watch", None)
    if watch is not None and watch.truth:
        update["watch"] = watch.model_copy(update={"truth": of_stages(watch.truth, models)})
    if isinstance(settings, ConstrainedSettings) and settings.cost is not None:
        update["cost"] = of_stages(settings.cost, models)
    return settings.model_copy(update=update) if update else settings


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
        elif part.judge is not None and part.judge not in judge_names():
            judge(str(part.judge))


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
    return JudgeReward(judge(str(part.judge)))


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
    return judge_digest()


def judge_digest() -> str:
    """sha256 of the refusal judge's weights, the only judge so far."""
    from charter.judges.refusal import WEIGHTS

    return file_digest(WEIGHTS / "refusal.safetensors")
