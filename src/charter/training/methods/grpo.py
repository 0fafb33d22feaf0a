"""Group relative policy optimisation: a completion is as good as it is better than others of its prompt.

Shao et al. 2024 (arXiv 2402.03300). What libraries change under the same name has options of its own here: Dr. GRPO
(Liu et al. 2025, arXiv 2503.20783), DAPO (Yu et al. 2025, arXiv 2503.14476), GSPO (Zheng et al. 2025,
arXiv 2507.18071).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from charter.ports import Observer, Reward
from charter.records import Prompt
from charter.training.advantages import batch_std_advantages, dr_grpo_advantages, grpo_advantages
from charter.training.experience import Experience
from charter.training.methods.base import Method, Trained
from charter.training.methods.policy_gradient import PolicyMethod, surrogate_of, train_policy
from charter.training.policy_settings import ConstrainedSettings
from charter.training.surrogate import Aggregation, averaging_of


class GrpoSettings(ConstrainedSettings):
    """Group relative policy optimisation."""

    of_several: ClassVar[tuple[str, ...]] = (*ConstrainedSettings.of_several, "ratio")

    method: Literal["grpo"] = "grpo"
    aggregation: Aggregation = Field(
        "grpo",
        description="How tokens' losses are averaged. grpo: per completion, then over completions; dr_grpo: sums "
        "divided by sample_tokens; dapo: over all tokens.",
    )
    advantage_scale: Literal["group", "batch", "none"] = Field(
        "group", description="Advantages are divided by the rewards' deviation in the group, in the batch, or not."
    )
    kl_in: Literal["loss", "reward"] = Field(
        "loss", description="Where the KL stands: k3 in the loss, k1 in the reward."
    )
    epsilon: float = Field(1e-4, gt=0, description="Added to that deviation.")
    ratio: Literal["token", "sequence"] = Field(
        "token",
        description="What is clipped: each token's ratio, or their geometric mean (GSPO). With several updates.",
    )

    @model_validator(mode="after")
    def _epsilon_is_used(self) -> Self:
        self._unused(self.advantage_scale == "none", ("epsilon",), "with advantage_scale none")
        return self


def advantages_of(settings: GrpoSettings, found: Experience, beta: float) -> Tensor:
    """The group's advantages at each token, (N,)."""
    rewards_C, prompts = found.penalised_C(beta), found.prompts
    if settings.advantage_scale == "group":
        advantages_C = grpo_advantages(rewards_C, prompts, settings.epsilon)
    elif settings.advantage_scale == "batch":
        advantages_C = batch_std_advantages(rewards_C, prompts, settings.epsilon)
    else:
        advantages_C = dr_grpo_advantages(rewards_C, prompts)
    return found.completions.spread(advantages_C)


def method_of(settings: GrpoSettings) -> PolicyMethod:
    """GRPO as these settings want it."""
    averaging = averaging_of(settings.aggregation, settings.sample_tokens)
    surrogate = surrogate_of(settings, averaging, "mean" if settings.ratio == "sequence" else "token")
    return PolicyMethod("GRPO", lambda found, beta: advantages_of(settings, found, beta), surrogate)


def train_grpo(
    model: str,
    rows: Sequence[Prompt],
    settings: GrpoSettings,
    folder: Path,
    reward: Reward,
    cost: Reward | None = None,
    *,
    observer: Observer | None = None,
) -> Trained:
    """Optimise `model` by GRPO; see `train_policy`. cost: with the settings' `cost`, higher is worse."""
    return train_policy(model, rows, settings, folder, reward, method_of(settings), cost, observer=observer)


METHOD = Method(GrpoSettings, train_grpo)
