"""Settings of policy gradients: what is learned from a rollout, how often, under which tether and constraint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from charter.training.lagrange import Multiplier
from charter.training.reward_sources import RewardPart
from charter.training.rollouts import RolloutSettings

Importance = Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


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
        "reward", description="Where the KL stands: k3 in the loss, k1 in the reward."
    )
    kl_target: float | None = Field(
        None, gt=0, description="KL per completion (nats) to which beta is steered; null leaves it. With kl_in: reward."
    )
    kl_horizon: float | None = Field(
        None, gt=0, description="Completions over which an error of 20% changes beta by 20%. With a kl_target."
    )
    entropy_bonus: float = Field(0.0, ge=0, description="Weight of the policy's entropy, taken from the loss.")
    drop_cut: bool = Field(
        False, description="Nothing is learned from completions that sample_tokens cut; advantages still count them."
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
