"""Critic-free policy gradients: what GRPO, RLOO and REINFORCE++ share, from settings to the trained model.

A rollout is drawn, scored and turned into advantages; then come `mini_batches` × `update_epochs` optimiser steps on it.
A method says how advantages are made and which Surrogate is minimised.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from charter.ports import Reward
from charter.records import Prompt
from charter.training.experience import Experience, experience, flat, gap_of, kl_of
from charter.training.kl import KlControl
from charter.training.lagrange import Multiplier
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import RowObjective, train_on
from charter.training.methods.base import Trained, finish
from charter.training.policy import trainable_policy
from charter.training.reference import StartWeights
from charter.training.reward_sources import RewardPart
from charter.training.rl_losses import engine_log_ratio, masked_importance, truncated_importance
from charter.training.rollouts import Rollouts, RolloutSettings, usable_prompts
from charter.training.scoring import completion_logprobs
from charter.training.source import Batch
from charter.training.surrogate import Learned, PolicyObjective, Surrogate

Importance = Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
Advantages = Callable[[Experience, float], Tensor]
"""(experience, weight of the KL in the reward) → advantages (N,), fp32, 0 for tokens that do not count."""


class PolicyGradientSettings(RolloutSettings):
    """What every critic-free policy gradient has."""

    samples: int = Field(8, ge=2, description="Completions sampled of each prompt.")
    mini_batches: int = Field(1, ge=1, description="Optimiser steps into which the prompts of a rollout are split.")
    update_epochs: int = Field(1, ge=1, description="Passes over a rollout.")
    clip_low: float = Field(0.2, gt=0, lt=1, description="Ratios below 1 - this are clipped. With several updates.")
    clip_high: float = Field(0.2, gt=0, description="Ratios above 1 + this are clipped. With several updates.")
    dual_clip: float | None = Field(
        None, gt=1, description="Ratios above this are clipped where the advantage is negative. With several updates."
    )
    beta: float = Field(0.04, ge=0, description="Weight of the KL from the reference; 0 goes without a reference.")
    kl_in: Literal["loss", "reward"] = Field(
        "loss", description="Where the KL stands: k3 in the loss, k1 in the reward."
    )
    kl_target: float | None = Field(
        None, gt=0, description="KL per completion (nats) to which beta is steered; null leaves it. With kl_in: reward."
    )
    kl_horizon: float | None = Field(
        None, gt=0, description="Completions over which an error of 20% changes beta by 20%. With a kl_target."
    )
    importance: Importance = Field(
        "none", description="Correction where sampling and training disagree on log-probs: truncated or masked ratios."
    )
    importance_cap: float = Field(2.0, gt=1, description="Largest ratio of the correction.")
    importance_floor: float = Field(0.5, ge=0, lt=1, description="Smallest ratio that a mask keeps.")

    @property
    def updates(self) -> int:
        """Optimiser steps made of each rollout."""
        return self.mini_batches * self.update_epochs

    @model_validator(mode="after")
    def _all_is_used(self) -> Self:
        if self.mini_batches > self.batch_size:
            raise ValueError("mini_batches must not be above batch_size: a mini-batch is at least one prompt")
        self._unused(self.updates == 1, self.of_several, "with one update a rollout: raise update_epochs")
        self._unused(self.beta == 0, ("kl_in",), "with beta 0")
        self._unused(self.importance == "none", ("importance_cap", "importance_floor"), "without an importance")
        self._unused("mask" not in self.importance, ("importance_floor",), "without a masking importance")
        if self.dual_clip is not None and self.dual_clip <= 1 + self.clip_high:
            raise ValueError("dual_clip must be above 1 + clip_high")
        if (self.kl_target is None) != (self.kl_horizon is None):
            raise ValueError("kl_target and kl_horizon need each other")
        if self.kl_target is not None and (self.kl_in != "reward" or self.beta == 0):
            raise ValueError("kl_target steers the beta of a KL in the reward: set kl_in: reward and a beta above 0")
        if self.kl_horizon is not None and self.kl_horizon <= 0.2 * self.batch_size * self.samples:
            raise ValueError("kl_horizon must be above a fifth of batch_size × samples, or beta could change its sign")
        return self

    of_several: ClassVar[tuple[str, ...]] = ("clip_low", "clip_high", "dual_clip")
    """Options that only several updates of a rollout can show."""

    def _unused(self, off: bool, options: Sequence[str], why: str) -> None:
        for option in options:
            if off and option in self.model_fields_set and getattr(self, option) != self._default(option):
                raise ValueError(f"{option} does nothing {why}, or leave it out")

    def _default(self, option: str) -> object:
        return type(self).model_fields[option].default


class ConstrainedSettings(PolicyGradientSettings):
    """A policy gradient that may have a constraint: the mean cost is to stay below a limit."""

    cost: tuple[RewardPart, ...] | None = Field(
        None, min_length=1, description="What is to stay below cost_limit on average; several are summed."
    )
    cost_limit: float = Field(0.0, description="Largest mean cost. With a cost.")
    multiplier: float = Field(1.0, gt=0, description="Lagrange multiplier at the start. With a cost.")
    multiplier_rate: float = Field(0.1, gt=0, description="Step size of the multiplier's logarithm. With a cost.")
    multiplier_max: float | None = Field(None, gt=0, description="Largest multiplier; null is none. With a cost.")

    @model_validator(mode="after")
    def _a_constraint_is_on_a_cost(self) -> Self:
        options = ("cost_limit", "multiplier", "multiplier_rate", "multiplier_max")
        self._unused(self.cost is None, options, "without a cost")
        if self.multiplier_max is not None and self.multiplier_max < self.multiplier:
            raise ValueError("multiplier_max must not be below multiplier, where it starts")
        return self

    def constraint(self) -> Multiplier | None:
        """The multiplier as it starts; None without a cost."""
        if self.cost is None:
            return None
        return Multiplier(math.log(self.multiplier), self.cost_limit, self.multiplier_rate, self.multiplier_max)


@dataclass(frozen=True)
class PolicyMethod:
    """What tells one critic-free method from another."""

    title: str
    advantages: Advantages
    surrogate: Surrogate


class PolicyUpdates:
    """The source: of each rollout several batches, parts of it under the same advantages and old log-probs."""

    def __init__(
        self,
        rollouts: Rollouts,
        logprobs: CompletionLogprobs,
        start: StartWeights | None,
        settings: PolicyGradientSettings,
        method: PolicyMethod,
    ) -> None:
        self._rollouts, self.logprobs, self._start = rollouts, logprobs, start
        self.settings, self.method = settings, method
        self._control = KlControl(settings.beta, settings.kl_target, settings.kl_horizon)
        self._constraint = settings.constraint() if isinstance(settings, ConstrainedSettings) else None
        self._now: tuple[int, tuple[Group, ...], RowObjective] | None = None

    @property
    def rows(self) -> int:
        """Prompts of an epoch."""
        return len(self._rollouts.prompts)

    def digest(self) -> str:
        """That of prompts and reward."""
        return self._rollouts.digest()

    def tensors(self) -> dict[str, Tensor]:
        """The weight of the KL penalty, and the multiplier of a constraint."""
        return self._control.tensors() | (self._constraint.tensors() if self._constraint else {})

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """As it was."""
        self._control = self._control.restored(saved)
        self._constraint = self._constraint and self._constraint.restored(saved)

    def batch(self, step: int) -> Batch:
        """The part of the rollout whose turn it is; the first draws the rollout."""
        turn, update = divmod(step, self.settings.updates)
        values: dict[str, float] = {}
        if update == 0:
            groups, objective, values = self._drawn(turn)
            self._now = turn, groups, objective
        if self._now is None or self._now[0] != turn:
            raise ValueError(f"step {step} is inside the updates of a rollout that was not drawn")
        _, groups, objective = self._now
        return Batch(part_of(groups, self.settings, turn, update), objective, values)

    def _drawn(self, turn: int) -> tuple[tuple[Group, ...], RowObjective, dict[str, float]]:
        how, method = self.settings, self.method
        rollouts, values = self._rollouts.draw(turn)
        begun = time.monotonic()
        found = with_logprobs(experience(rollouts), self.logprobs, self._start, how)
        values |= {**kl_of(found), **gap_of(found), "seconds_logprobs": time.monotonic() - begun}
        if self._constraint is not None:
            found, constrained = self._under_constraint(found, self._constraint)
            values |= constrained
        in_reward = self._control.beta if how.kl_in == "reward" else 0.0
        objective, advantages_N, more = self.objective(found, in_reward)
        values |= {**more, "zero_advantage": zero_share(advantages_N, found)}
        if how.beta:
            values["beta"] = self._control.beta
            self._control = self._control.after(values["kl"], len(found.scores_C))
        # A prompt without any score has nothing that counts. Where all is as good as expected, a step would only be
        # Adam's momentum and decay; a critic may have to learn just then.
        keep = found.by_key(found.keep_N)
        idle = isinstance(objective, PolicyObjective) and not advantages_N.any() and not method.surrogate.kl_weight
        kept = () if idle else tuple(group for group in found.groups if keep[group.key].any())
        return kept, objective, values

    def _under_constraint(self, found: Experience, constraint: Multiplier) -> tuple[Experience, dict[str, float]]:
        """(the rollout with its cost in its scores, what to log); the multiplier follows the cost for the next one.

        A completion whose reward or cost is unknown has no score.
        """
        if found.costs_C is None:
            raise ValueError("a constraint needs costs")
        known_C = found.costs_C[~found.costs_C.isnan()]
        if len(known_C):
            self._constraint = constraint.after(float(known_C.double().mean()))
        return replace(found, scores_C=constraint.joined(found.scores_C, found.costs_C)), {
            "multiplier": constraint.value
        }

    def objective(self, found: Experience, beta: float) -> tuple[RowObjective, Tensor, dict[str, float]]:
        """(objective of the rollout, advantages (N,), what to log). beta: weight of the KL in the reward."""
        advantages_N = self.method.advantages(found, beta)
        learned = learned_from(found, advantages_N, self.settings)
        return PolicyObjective(self.method.surrogate, learned), advantages_N, {}


def learned_from(found: Experience, advantages_N: Tensor, settings: PolicyGradientSettings) -> Learned:
    """What an objective needs to know, by key."""
    return Learned(
        found.by_key(advantages_N),
        found.by_key(found.keep_N),
        found.by_key(found.old_N if settings.updates > 1 else None),
        found.by_key(found.reference_N),
        found.by_key(found.sampled_N if found.old_N is None else None),
        found.by_key(importance_of(found, settings)),
    )


def with_logprobs(
    found: Experience, logprobs: CompletionLogprobs, start: StartWeights | None, settings: PolicyGradientSettings
) -> Experience:
    """With the log-probs of policy and reference that the settings need.

    The policy's are those of the forward that trains, without dropout; where neither ratios nor a correction nor a
    penalty need them, the forward is saved.
    """
    row_tokens = settings.row_tokens
    penalty = settings.beta and settings.kl_in == "reward"
    if settings.updates > 1 or settings.importance != "none" or penalty:
        old_N = flat(completion_logprobs(logprobs, found.groups, row_tokens), found.groups)
        found = replace(found, old_N=old_N)
    if start is not None:
        with start.restored():
            reference_N = flat(completion_logprobs(logprobs, found.groups, row_tokens), found.groups)
        found = replace(found, reference_N=reference_N)
    return found


def importance_of(found: Experience, settings: PolicyGradientSettings) -> Tensor | None:
    """The factor of each token's loss for sampling that disagrees with training, (N,); None without a correction."""
    if settings.importance == "none" or found.old_N is None:
        return None
    level, _, kind = settings.importance.partition("_")
    ratio = engine_log_ratio(found.old_N, found.sampled_N)
    if level == "sequence":
        ratio = found.completions.sum(ratio)
    cap, floor = settings.importance_cap, settings.importance_floor
    factor = truncated_importance(ratio, cap) if kind == "truncate" else masked_importance(ratio, floor, cap)
    return found.completions.spread(factor) if level == "sequence" else factor


def zero_share(advantages_N: Tensor, found: Experience) -> float:
    """Share of completions that teach nothing: unscored, or no better or worse than expected."""
    return float((found.completions.sum(advantages_N.abs()) == 0).float().mean())


def part_of(groups: Sequence[Group], settings: PolicyGradientSettings, turn: int, update: int) -> list[Group]:
    """The prompts of an update: each pass over a rollout in an order of its own, cut into mini-batches."""
    epoch, place = divmod(update, settings.mini_batches)
    if settings.mini_batches == 1:
        return list(groups)
    generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + turn) * 1009 + epoch)
    order = torch.randperm(len(groups), generator=generator).tolist()
    return [groups[i] for i in order[place :: settings.mini_batches]]


def train_policy(
    model: str,
    rows: Sequence[Prompt],
    settings: PolicyGradientSettings,
    folder: Path,
    reward: Reward,
    method: PolicyMethod,
    cost: Reward | None = None,
) -> Trained:
    """Optimise `model` on its own completions of the prompts, by `reward`; the reference is `model` itself.

    The result is `folder/model`. Raises UserError when no prompt can be used, or under torchrun.
    """
    policy = trainable_policy(model, settings.lora, settings.seed)
    prompts, dropped = usable_prompts(policy, rows, settings, method.title)
    logprobs = CompletionLogprobs(policy.model, temperature=settings.temperature)
    source = PolicyUpdates(
        Rollouts(policy, prompts, reward, settings, folder, cost),
        logprobs,
        StartWeights(policy.model) if settings.beta else None,
        settings,
        method,
    )
    result = train_on(source, logprobs, settings, folder, title=method.title, identity=policy.digest)
    return finish(policy, folder, len(prompts), dropped, result)
