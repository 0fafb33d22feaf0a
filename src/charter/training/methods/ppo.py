"""Proximal policy optimisation with a critic, on text.

Schulman et al. 2017 (arXiv 1707.06347); on text as in Ziegler et al. 2019 (arXiv 1909.08593), Stiennon et al. 2020
(arXiv 2009.01325) and Huang et al. 2024 (arXiv 2403.17031), whose details are the defaults here: a critic that starts
as the reward model, the score at the last token sampled, k1 in the reward, whitened advantages, clipped values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from charter.ports import Observer, Reward
from charter.records import Prompt
from charter.training.advantages import gae, whiten
from charter.training.critic import ActorCritic, blank_head, completion_values, critic_of
from charter.training.experience import Experience
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train_on
from charter.training.methods.base import Method, Trained, finish
from charter.training.methods.policy_gradient import PolicyMethod, PolicyUpdates, learned_from, surrogate_of
from charter.training.objective import Tally
from charter.training.observing import observation
from charter.training.policy import Policy, trainable_policy
from charter.training.policy_settings import ConstrainedSettings
from charter.training.reference import StartWeights
from charter.training.rl_losses import token_mean, value_loss
from charter.training.rollouts import Rollouts, usable_prompts
from charter.training.surrogate import PolicyObjective, of_row


class PpoSettings(ConstrainedSettings):
    """Proximal policy optimisation with a critic."""

    of_several: ClassVar[tuple[str, ...]] = (*ConstrainedSettings.of_several, "value_clip")

    method: Literal["ppo"] = "ppo"
    samples: int = Field(1, ge=1, description="Completions sampled of each prompt.")
    update_epochs: int = Field(4, ge=1, description="Passes over a rollout.")
    beta: float = Field(0.05, ge=0, description="Weight of the KL from the reference; 0 goes without a reference.")
    gamma: float = Field(1.0, ge=0, le=1, description="Discount of later rewards, per token.")
    lam: float = Field(0.95, ge=0, le=1, description="Lambda of generalised advantage estimation.")
    whiten_advantages: bool = Field(
        True, description="Shift and scale a rollout's advantages to mean 0 and deviation 1."
    )
    critic: Literal["separate", "shared"] = Field(
        "separate", description="A critic with a body of its own, or a head on the policy's body."
    )
    critic_model: str | None = Field(
        None, description="What a separate critic starts as; null: the first reward model of `reward`, else the policy."
    )
    critic_learning_rate: float | None = Field(
        None, gt=0, description="Peak learning rate of a separate critic; null is the policy's."
    )
    value_clip: float | None = Field(
        0.2, gt=0, description="Values further than this from the rollout's are clipped; null: never. Several updates."
    )
    value_weight: float = Field(0.1, gt=0, description="Weight of the value loss beside the policy's. When shared.")

    @model_validator(mode="after")
    def _the_critics_options_are_used(self) -> Self:
        shared = self.critic == "shared"
        self._unused(shared, ("critic_model", "critic_learning_rate"), "with a shared critic")
        self._unused(not shared, ("value_weight",), "with a separate critic, which has an optimiser of its own")
        return self


@dataclass(frozen=True)
class PpoObjective:
    """A policy's surrogate and its critic's value loss, both means over the tokens that count.

    old, returns: per key and token, the critic's values at the rollout, and what they should have been.
    """

    policy: PolicyObjective
    old: Mapping[str, Tensor]
    returns: Mapping[str, Tensor]
    value_clip: float | None
    value_weight: float

    def weight(self, group: Group) -> float:
        """Tokens that count."""
        return self.policy.weight(group)

    def row_loss(self, logprobs: CompletionLogprobs, row: Row, tally: Tally) -> Tensor:
        """Summed loss of a row, of policy and critic."""
        logp_N, entropy_N, values_N = _actor(logprobs).read(row, self.policy.reading)
        policy = self.policy.loss(logp_N, row, tally) - self.policy.bonus(entropy_N, row, tally)
        return policy + self.value_weight * self.critic_loss(values_N, row, tally)

    def idle(self, logprobs: CompletionLogprobs, row: Row) -> Tensor:
        """One forward of both, that counts nothing."""
        logp_N, _, values_N = _actor(logprobs).read(row, self.policy.reading)
        zero: Tensor = 0 * (logp_N.sum() + values_N.sum())
        return zero

    def critic_loss(self, values_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed value loss of a row."""
        device = values_N.device
        keep_N = of_row(self.policy.learned.keep, row, device)
        old_N, returns_N = of_row(self.old, row, device), of_row(self.returns, row, device)
        assert keep_N is not None
        assert old_N is not None
        assert returns_N is not None
        losses_N = value_loss(values_N, old_N, returns_N, self.value_clip).where(keep_N, 0)
        tally.add("value_loss", losses_N.detach().sum(), int(keep_N.sum()))
        return losses_N.sum()


class PpoUpdates(PolicyUpdates):
    """The source: rollouts with the critic's values, whose advantages are estimated with them."""

    settings: PpoSettings
    logprobs: ActorCritic

    def objective(self, found: Experience, beta: float) -> tuple[PpoObjective, Tensor, dict[str, float]]:
        """(objective of the rollout, advantages (N,), what to log)."""
        how = self.settings
        found = replace(found, values_N=completion_values(self.logprobs, found.groups, how.row_tokens))
        advantages_N, returns_N = estimated(how, found, beta)
        learned = learned_from(found, advantages_N, how)
        objective = PpoObjective(
            PolicyObjective(self.method.surrogate, learned),
            found.by_key(found.values_N),
            found.by_key(returns_N),
            how.value_clip,
            how.value_weight if how.critic == "shared" else 1.0,
        )
        return objective, advantages_N, value_values(found, returns_N)


def estimated(settings: PpoSettings, found: Experience, beta: float) -> tuple[Tensor, Tensor]:
    """(advantages (N,), returns (N,)) of a rollout with values; 0 for tokens that do not count."""
    if found.values_N is None:
        raise ValueError("advantages need the critic's values")
    keep_N = found.keep_N
    rewards_N = found.rewards_N(found.scores_C, beta)
    advantages_N, returns_N = gae(rewards_N, found.values_N, found.completions, settings.gamma, settings.lam, keep_N)
    return whiten(advantages_N, keep_N) if settings.whiten_advantages else advantages_N, returns_N


def value_values(found: Experience, returns_N: Tensor) -> dict[str, float]:
    """Mean value and return of the tokens that count, and the share of the returns' variance that values explain."""
    if found.values_N is None or not found.keep_N.any():
        return {}
    values, returns = found.values_N[found.keep_N].double(), returns_N[found.keep_N].double()
    spread = float(returns.var(correction=0))
    logged = {"value": float(values.mean()), "return": float(returns.mean())}
    if spread > 0:
        logged["explained_variance"] = 1 - float((returns - values).var(correction=0)) / spread
    return logged


def method_of(settings: PpoSettings) -> PolicyMethod:
    """PPO as these settings want it."""
    return PolicyMethod(
        "PPO", lambda found, beta: estimated(settings, found, beta)[0], surrogate_of(settings, token_mean)
    )


def actor_critic(settings: PpoSettings, model: str, policy: Policy) -> tuple[ActorCritic, str]:
    """(policy with its critic as the settings want them, digest of what the critic started as)."""
    if settings.critic == "shared":
        head = blank_head(policy.model.get_output_embeddings().weight.shape[1])
        return ActorCritic(policy.model, head, temperature=settings.temperature), ""
    trained = [(part.folders[0], part.weight) for part in settings.reward if part.folders]
    name, factor = settings.critic_model or model, 1.0
    if settings.critic_model is None and trained:
        name, factor = trained[0]
    critic, digest = critic_of(name, factor, settings.lora, settings.seed, policy)
    rate = (settings.critic_learning_rate or settings.learning_rate) / settings.learning_rate
    return ActorCritic(policy.model, critic, rate, settings.temperature), digest


def train_ppo(
    model: str,
    rows: Sequence[Prompt],
    settings: PpoSettings,
    folder: Path,
    reward: Reward,
    cost: Reward | None = None,
    *,
    observer: Observer | None = None,
) -> Trained:
    """Optimise `model` by PPO on its own completions of the prompts; the reference is `model` itself.

    cost: with the settings' `cost`, higher is worse; one critic learns the value of reward and cost as they are joined.
    The result is `folder/model`; the critic is kept in the checkpoints alone. Raises UserError when no prompt can be
    used, when the critic's tokens are not the policy's, or under torchrun.
    """
    policy = trainable_policy(model, settings.lora, settings.seed)
    prompts, dropped = usable_prompts(policy, rows, settings, "PPO")
    actor, digest = actor_critic(settings, model, policy)
    source = PpoUpdates(
        Rollouts(policy, prompts, reward, settings, folder, cost),
        actor,
        StartWeights(policy.model) if settings.beta else None,
        settings,
        method_of(settings),
    )
    looks = observation(policy, observer, folder, settings.max_tokens)
    result = train_on(
        source, actor, settings, folder, title="PPO", identity=f"{policy.digest} {digest}", observation=looks
    )
    return finish(policy, folder, len(prompts), dropped, result)


def _actor(logprobs: CompletionLogprobs) -> ActorCritic:
    if not isinstance(logprobs, ActorCritic):
        raise TypeError(f"PPO needs a policy with its critic, not {type(logprobs).__name__}")
    return logprobs


METHOD = Method(PpoSettings, train_ppo)
