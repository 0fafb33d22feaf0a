"""REINFORCE++: rewards per token with the KL in them, discounted, whitened over the batch; no critic, no group needed.

Hu 2025 (arXiv 2501.03262). With `baseline: group` the score is first compared with those of its prompt's completions,
the paper's REINFORCE++-baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from charter.ports import Observer, Reward
from charter.records import Prompt
from charter.training.advantages import dr_grpo_advantages, reinforce_pp_advantages
from charter.training.experience import Experience
from charter.training.methods.base import Method, Trained
from charter.training.methods.policy_gradient import PolicyMethod, surrogate_of, train_policy
from charter.training.policy_settings import PolicyGradientSettings
from charter.training.rl_losses import token_mean


class ReinforcePpSettings(PolicyGradientSettings):
    """REINFORCE++."""

    method: Literal["reinforce_pp"] = "reinforce_pp"
    samples: int = Field(1, ge=1, description="Completions sampled of each prompt.")
    beta: float = Field(0.01, ge=0, description="Weight of the KL from the reference; 0 goes without a reference.")
    gamma: float = Field(1.0, ge=0, le=1, description="Discount of later rewards, per token.")
    baseline: Literal["none", "group"] = Field(
        "none", description="What is taken from a score: nothing, or the mean of its prompt's scores."
    )

    @model_validator(mode="after")
    def _a_group_is_more_than_one(self) -> Self:
        if self.baseline == "group" and self.samples == 1:
            raise ValueError("baseline: group needs samples of at least 2: a single score is its own mean")
        return self


def advantages_of(settings: ReinforcePpSettings, found: Experience, beta: float) -> Tensor:
    """Whitened discounted returns at each token, (N,)."""
    scores_C, keep_N = found.scores_C, found.keep_N
    if settings.baseline == "group":
        scores_C = dr_grpo_advantages(scores_C, found.prompts)
    rewards_N = found.rewards_N(scores_C, beta)
    # The paper's own code divides the variance by n.
    return reinforce_pp_advantages(rewards_N, found.completions, settings.gamma, keep_N, unbiased=False)


def method_of(settings: ReinforcePpSettings) -> PolicyMethod:
    """REINFORCE++ as these settings want it."""
    return PolicyMethod(
        "REINFORCE++", lambda found, beta: advantages_of(settings, found, beta), surrogate_of(settings, token_mean)
    )


def train_reinforce_pp(
    model: str,
    rows: Sequence[Prompt],
    settings: ReinforcePpSettings,
    folder: Path,
    reward: Reward,
    *,
    observer: Observer | None = None,
) -> Trained:
    """Optimise `model` by REINFORCE++; see `train_policy`."""
    return train_policy(model, rows, settings, folder, reward, method_of(settings), observer=observer)


METHOD = Method(ReinforcePpSettings, train_reinforce_pp)
