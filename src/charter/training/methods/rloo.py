"""REINFORCE leave-one-out: a completion's baseline is the mean of its prompt's other completions.

Ahmadian et al. 2024 (arXiv 2402.14740); Kool et al. 2019. The whole completion is one action: its ratio is the product
of its tokens', and the KL is taken from its reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from charter.ports import Observer, Reward
from charter.records import Prompt
from charter.training.advantages import rloo_advantages
from charter.training.experience import Experience
from charter.training.methods.base import Method, Trained
from charter.training.methods.policy_gradient import PolicyMethod, surrogate_of, train_policy
from charter.training.policy_settings import PolicyGradientSettings
from charter.training.rl_losses import completion_mean


class RlooSettings(PolicyGradientSettings):
    """REINFORCE leave-one-out."""

    method: Literal["rloo"] = "rloo"
    samples: int = Field(4, ge=2, description="Completions sampled of each prompt.")
    beta: float = Field(0.05, ge=0, description="Weight of the KL from the reference; 0 goes without a reference.")


def advantages_of(found: Experience, beta: float) -> Tensor:
    """Leave-one-out advantages at each token, (N,)."""
    return found.completions.spread(rloo_advantages(found.penalised_C(beta), found.prompts))


def method_of(settings: RlooSettings) -> PolicyMethod:
    """RLOO as these settings want it."""
    surrogate = surrogate_of(settings, completion_mean, "sum")
    return PolicyMethod("RLOO", advantages_of, surrogate)


def train_rloo(
    model: str,
    rows: Sequence[Prompt],
    settings: RlooSettings,
    folder: Path,
    reward: Reward,
    *,
    observer: Observer | None = None,
) -> Trained:
    """Optimise `model` by RLOO; see `train_policy`."""
    return train_policy(model, rows, settings, folder, reward, method_of(settings), observer=observer)


METHOD = Method(RlooSettings, train_rloo)
