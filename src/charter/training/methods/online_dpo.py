"""Online DPO: pairs of the policy's own completions, sampled and judged at each step.

Guo et al. 2024 (arXiv 2402.04792), "Direct Language Model Alignment from Online AI Feedback", where the losses of DPO,
IPO and SLiC are each trained so. Here the feedback is any reward: the best of n samples against the worst.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from charter.ports import Observer, Reward
from charter.records import Prompt
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train_on
from charter.training.losses import dpo_loss, hinge_loss, ipo_loss
from charter.training.methods.base import Method, Trained, finish
from charter.training.methods.pairs import PairLoss, PairObjective
from charter.training.observing import observation
from charter.training.online_reference import reference_logprobs
from charter.training.policy import trainable_policy
from charter.training.reference import StartWeights
from charter.training.rollouts import Rollout, Rollouts, RolloutSettings, SampledObjective, usable_prompts
from charter.training.source import Batch, Stateless


class OnlineDpoSettings(RolloutSettings):
    """Online direct preference optimisation (Guo et al. 2024)."""

    method: Literal["online_dpo"] = "online_dpo"
    loss: Literal["dpo", "ipo", "slic"] = Field("dpo", description="Loss of a pair, as in the method of that name.")
    beta: float = Field(0.1, gt=0, description="Strength of the tether to the reference.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Chance that the reward orders a pair wrongly (cDPO). With the loss `dpo`."
    )

    @model_validator(mode="after")
    def _smoothing_is_dpos(self) -> Self:
        if self.label_smoothing and self.loss != "dpo":
            raise ValueError(f"label_smoothing does nothing with the loss {self.loss}: leave it out")
        return self


def pair_loss(settings: OnlineDpoSettings) -> PairLoss:
    """The loss of a pair that these settings ask for."""
    beta, smoothing = settings.beta, settings.label_smoothing
    losses = {
        "dpo": lambda chosen, rejected: dpo_loss(chosen - rejected, beta, smoothing),
        "ipo": lambda chosen, rejected: ipo_loss(chosen - rejected, beta),
        "slic": lambda chosen, rejected: hinge_loss(chosen - rejected, beta),
    }
    return PairLoss(losses[settings.loss], reward_scale=beta)


@dataclass(frozen=True)
class SampledPair:
    """Which samples of a rollout are the chosen and the rejected side, and their rewards."""

    rollout: Rollout
    sides: tuple[int, int]
    rewards: tuple[float, float]


def best_and_worst(rollouts: Sequence[Rollout]) -> tuple[list[SampledPair], Counter[str]]:
    """(one pair a prompt: its best sample against its worst, the first of equals; prompts without one, by reason)."""
    pairs: list[SampledPair] = []
    left: Counter[str] = Counter(ties=0, too_few_scored=0)
    for rollout in rollouts:
        scored = [(one.reward, place) for place, one in enumerate(rollout.samples) if one.reward is not None]
        if len(scored) < 2:
            left["too_few_scored"] += 1
            continue
        best, worst = max(scored, key=lambda one: one[0]), min(scored, key=lambda one: one[0])
        sides = best[1], worst[1]
        # A reward that is not a function of the text may tell equal completions apart; they teach nothing.
        if best[0] == worst[0] or len({rollout.samples[side].tokens for side in sides}) == 1:
            left["ties"] += 1
        else:
            pairs.append(SampledPair(rollout, sides, (best[0], worst[0])))
    return pairs, left


@dataclass(frozen=True)
class OnlinePairs(Stateless):
    """The source: at each step samples of the policy, of each prompt one pair."""

    rollouts: Rollouts
    logprobs: CompletionLogprobs
    start: StartWeights
    pair_loss: PairLoss
    row_tokens: int

    @property
    def rows(self) -> int:
        """Prompts of an epoch."""
        return len(self.rollouts.prompts)

    def digest(self) -> str:
        """That of prompts and reward."""
        return self.rollouts.digest()

    def batch(self, step: int) -> Batch:
        """The pairs of a step, each beside the reference's log-probs of its sides."""
        rollouts, values = self.rollouts.draw(step)
        reference, of_reference = reference_logprobs(self.logprobs, self.start, rollouts, self.row_tokens)
        pairs, left = best_and_worst(rollouts)
        groups = [pair.rollout.group(pair.sides) for pair in pairs]
        sums = {
            pair.rollout.key: torch.stack([reference[pair.rollout.key][side].sum() for side in pair.sides])
            for pair in pairs
        }
        behaviour = {pair.rollout.key: [pair.rollout.samples[side].logprobs for side in pair.sides] for pair in pairs}
        objective = SampledObjective(PairObjective(self.pair_loss, sums), behaviour)
        return Batch(groups, objective, {**values, **of_reference, **pair_values(pairs), **left})


def pair_values(pairs: Sequence[SampledPair]) -> dict[str, float]:
    """What is logged of a step's pairs: how many, and the mean reward of either side."""
    if not pairs:
        return {"pairs": 0}
    best, worst = (sum(pair.rewards[side] for pair in pairs) / len(pairs) for side in (0, 1))
    return {"pairs": len(pairs), "best_reward": best, "worst_reward": worst}


def train_online_dpo(
    model: str,
    rows: Sequence[Prompt],
    settings: OnlineDpoSettings,
    folder: Path,
    reward: Reward,
    *,
    observer: Observer | None = None,
) -> Trained:
    """Optimise `model` on its own completions of the prompts, by `reward`; the reference is `model` itself.

    The result is `folder/model`. Raises UserError when no prompt can be used, or under torchrun.
    """
    title = "online DPO"
    policy = trainable_policy(model, settings.lora, settings.seed)
    prompts, dropped = usable_prompts(policy, rows, settings, title)
    logprobs = CompletionLogprobs(policy.model, temperature=settings.temperature)
    source = OnlinePairs(
        Rollouts(policy, prompts, reward, settings, folder),
        logprobs,
        StartWeights(policy.model),
        pair_loss(settings),
        settings.row_tokens,
    )
    looks = observation(policy, observer, folder, settings.max_tokens)
    result = train_on(source, logprobs, settings, folder, title=title, identity=policy.digest, observation=looks)
    return finish(policy, folder, len(prompts), dropped, result)


METHOD = Method(OnlineDpoSettings, train_online_dpo)
