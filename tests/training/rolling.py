"""Rollouts of tiny models: what the tests of the methods that sample their own completions share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from charter.records import Exchange, Prompt, user_prompt
from charter.training.logprobs import CompletionLogprobs
from charter.training.methods.online_dpo import OnlineDpoSettings, OnlinePairs, pair_loss
from charter.training.policy import Policy, trainable_policy
from charter.training.reference import StartWeights
from charter.training.reward_sources import FunctionReward
from charter.training.rollouts import Rollouts, usable_prompts

PROMPTS = [Prompt(f"p{i}", user_prompt(f"Say {i}.")) for i in range(6)]
FIRST_LETTERS = range(ord("a"), ord("n"))


def early_letters(row: Exchange) -> float:
    """Share of the characters that are in the first half of the alphabet."""
    return sum(ord(c) in FIRST_LETTERS for c in row.completion) / max(len(row.completion), 1)


def late_letters(row: Exchange) -> float:
    """The opposite of `early_letters`: what rises for the one falls for the other."""
    return 1 - early_letters(row)


def mostly_early(row: Exchange) -> float:
    """What `early_letters` stands for, on another scale."""
    return early_letters(row) ** 0.5


def by_length(row: Exchange) -> float:
    return len(row.completion)


def settings(**values: Any) -> OnlineDpoSettings:
    how = {"batch_size": 3, "sample_tokens": 12, "samples": 3, "lora": {"r": 4, "alpha": 8}, **values}
    return OnlineDpoSettings.model_validate({"reward": [{"function": "rolling:by_length"}], **how})


def reward_from(function: Callable[[Exchange], Any]) -> FunctionReward:
    return FunctionReward(function.__name__, function)


def online(
    base: Path,
    how: OnlineDpoSettings,
    folder: Path,
    reward: Callable[[Exchange], Any] = by_length,
    prompts: Sequence[Prompt] = PROMPTS,
    policy: Policy | None = None,
) -> tuple[Policy, OnlinePairs]:
    """A policy and its source of pairs, as `train_online_dpo` puts them together, in fp32."""
    policy = policy or trainable_policy(str(base), how.lora, how.seed)
    policy.model.float()  # where bf16 is native, it would be that
    usable, _ = usable_prompts(policy, prompts, how, "test")
    rollouts = Rollouts(policy, usable, reward_from(reward), how, folder)
    logprobs = CompletionLogprobs(policy.model, temperature=how.temperature)
    return policy, OnlinePairs(rollouts, logprobs, StartWeights(policy.model), pair_loss(how), how.row_tokens)
