"""Critic-free policy gradients: what GRPO, RLOO and REINFORCE++ share, from settings to the trained model.

A rollout is drawn, scored and turned into advantages; then come `mini_batches` × `update_epochs` optimiser steps on it.
A method says how advantages are made and which Surrogate is minimised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from charter.ports import Observer, Reward
from charter.records import Prompt
from charter.training.experience import Experience, experience, flat, gap_of, kl_of
from charter.training.kl import KlControl
from charter.training.lagrange import Multiplier
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train_on
from charter.training.methods.base import Trained, finish
from charter.training.objective import RowObjective
from charter.training.observing import observation
from charter.training.policy import trainable_policy
from charter.training.policy_settings import ConstrainedSettings, PolicyGradientSettings
from charter.training.reference import StartWeights
from charter.training.rl_losses import engine_log_ratio, masked_importance, truncated_importance
from charter.training.rollouts import Rollouts, usable_prompts
from charter.training.scoring import completion_logprobs
from charter.training.source import Batch
from charter.training.surrogate import Averaging, Learned, PolicyObjective, Ratio, Surrogate

Advantages = Callable[[Experience, float], Tensor]
"""(experience, weight of the KL in the reward) → advantages (N,), fp32, 0 for tokens that do not count."""


@dataclass(frozen=True)
class PolicyMethod:
    """What tells one critic-free method from another."""

    title: str
    advantages: Advantages
    surrogate: Surrogate


def surrogate_of(settings: PolicyGradientSettings, averaging: Averaging, ratio: Ratio = "token") -> Surrogate:
    """The surrogate with the clips and the bonus of these settings, and with the KL where they want it in the loss."""
    kl_weight = settings.beta if settings.kl_in == "loss" else 0.0
    return Surrogate(
        averaging, ratio, settings.clip_low, settings.clip_high, settings.dual_clip, kl_weight, settings.entropy_bonus
    )


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
        found = with_logprobs(experience(rollouts, how.drop_cut), self.logprobs, self._start, how)
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
        idle = (
            isinstance(objective, PolicyObjective)
            and not advantages_N.any()
            and not (how.entropy_bonus or method.surrogate.kl_weight)
        )
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
    *,
    observer: Observer | None = None,
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
    looks = observation(policy, observer, folder, settings.max_tokens)
    result = train_on(source, logprobs, settings, folder, title=method.title, identity=policy.digest, observation=looks)
    return finish(policy, folder, len(prompts), dropped, result)
