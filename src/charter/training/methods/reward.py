"""A reward model from preference pairs: Bradley-Terry, with margins, centring and ensembles of heads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from charter.errors import UserError
from charter.models.reward_head import RewardHead
from charter.records import Preference
from charter.training.bootstrap import bootstrap_counts
from charter.training.layout import Group, Row
from charter.training.loop import train
from charter.training.methods.base import Method, Trained, check_strengths, finish, need_rows
from charter.training.objective import Objective, Tally
from charter.training.policy import Policy
from charter.training.reward_losses import bradley_terry_loss, centring_loss
from charter.training.rewards import CompletionRewards, reward_policy
from charter.training.rows import preference_groups
from charter.training.settings import TrainSettings


class HeadSettings(TrainSettings):
    """What every reward model has."""

    learning_rate: float = Field(1e-4, gt=0, description="Peak learning rate.")
    heads: int = Field(
        1, ge=1, description="Heads on one body; with several, each learns from a bootstrap of the rows of its own."
    )


class RewardSettings(HeadSettings):
    """A reward model from preference pairs (Bradley-Terry)."""

    method: Literal["reward"] = "reward"
    margin: Literal["none", "strength", "given"] = Field(
        "none",
        description="By how much the chosen side is asked to win: nothing; the pair's strength (which then does not "
        "weigh its loss); or the margin given with the pair, such as a difference of scores.",
    )
    margin_scale: float = Field(1.0, gt=0, description="The margin asked for is this times the one of the pair.")
    centring: float = Field(0.0, ge=0, description="Weight of the squared sum of a pair's rewards; 0.01 is usual.")

    @model_validator(mode="after")
    def _scale_needs_a_margin(self) -> Self:
        if self.margin == "none" and "margin_scale" in self.model_fields_set:
            raise ValueError("margin_scale does nothing without a margin; set `margin: strength` or `margin: given`")
        return self


@dataclass(frozen=True)
class RewardObjective:
    """Groups of (chosen, rejected), from rewards (C, K).

    margins, strengths: by key, 0 and 1 where there is no entry.  counts: by key, how often the pair counts for each
    head (K,); once where there is no entry.
    """

    margins: Mapping[str, float]
    strengths: Mapping[str, float]
    counts: Mapping[str, Tensor]
    centring: float = 0.0

    def weight(self, group: Group) -> float:
        """The pair's strength: the loss is a mean over pairs, weighted by it."""
        return self.strengths.get(group.key, 1.0)

    def loss(self, rewards_CK: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed loss of a row's pairs, each the mean over heads."""
        chosen_PK, rejected_PK = rewards_CK[0::2], rewards_CK[1::2]
        margins_P1 = rewards_CK.new_tensor([[self.margins.get(group.key, 0.0)] for group in row.groups])
        losses_PK = bradley_terry_loss(chosen_PK, rejected_PK, margins_P1)
        if self.centring:
            losses_PK = losses_PK + self.centring * centring_loss(chosen_PK, rejected_PK)
        log_pairs(chosen_PK.detach(), rejected_PK.detach(), tally)
        weights_P1 = rewards_CK.new_tensor([[self.weight(group)] for group in row.groups])
        return (losses_PK * counts_of(row, self.counts, losses_PK) * weights_P1).mean(1).sum()


def counts_of(row: Row, counts: Mapping[str, Tensor], like_GK: Tensor) -> Tensor:
    """How often each of a row's groups counts for each head, (G, K); once where there is no entry."""
    once = torch.ones(like_GK.shape[1])
    return torch.stack([counts.get(group.key, once) for group in row.groups]).to(like_GK.device)


def log_pairs(chosen_PK: Tensor, rejected_PK: Tensor, tally: Tally) -> None:
    """Margin, accuracy and level of the mean over heads, and how far the heads are apart."""
    chosen_P, rejected_P = chosen_PK.mean(1), rejected_PK.mean(1)
    pairs, heads = chosen_PK.shape
    tally.add("margin", (chosen_P - rejected_P).sum(), pairs)
    tally.add("accuracy", (chosen_P > rejected_P).float().sum(), pairs)
    tally.add("chosen_reward", chosen_P.sum(), pairs)
    tally.add("rejected_reward", rejected_P.sum(), pairs)
    if heads > 1:
        tally.add("head_std", (chosen_PK - rejected_PK).std(1).sum(), pairs)


def margin_of(row: Preference, settings: RewardSettings) -> float:
    """The margin asked of a pair. Raises UserError when it has none and needs one."""
    if settings.margin == "none":
        return 0.0
    given = row.strength if settings.margin == "strength" else row.margin
    if given is None:
        raise UserError(
            f'Reward model: row {row.id} has no margin. Give every pair one in the column "margin", or scored '
            "completions; or set `margin: none`."
        )
    return settings.margin_scale * given


def train_reward(model: str, rows: Sequence[Preference], settings: RewardSettings, folder: Path) -> Trained:
    """Train heads and body of `model` on pairs; the result is `folder/model`. Resumes what a killed run left there.

    Raises UserError when no row can be used, a strength is not in (0, 1], or a margin is missing.
    """
    check_strengths(rows, "Reward model")
    margins = {row.id: margin_of(row, settings) for row in rows}
    policy, head = reward_policy(model, settings.lora, settings.seed, "reward", settings.heads, bias=False)
    groups, dropped = preference_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, "Reward model")
    strengths = {} if settings.margin == "strength" else {row.id: row.strength for row in rows}
    counts = bootstrap_counts([group.key for group in groups], settings.heads, settings.seed)
    objective = RewardObjective(margins, strengths, counts, settings.centring)
    return train_heads(
        policy, head, objective, groups, settings, folder, title="reward model", labels=margins, dropped=dropped
    )


def train_heads(
    policy: Policy,
    head: RewardHead,
    objective: Objective,
    groups: Sequence[Group],
    settings: HeadSettings,
    folder: Path,
    *,
    title: str,
    labels: Mapping[str, object],
    dropped: Counter[str],
) -> Trained:
    """Train heads and body together and save both. labels: what the groups do not hold, so that a checkpoint belongs
    to them too."""
    identity = f"{policy.digest} {hashlib.sha256(repr(sorted(labels.items())).encode()).hexdigest()}"
    forward = CompletionRewards(policy.model, head)
    result = train(policy.model, objective, groups, settings, folder, title=title, identity=identity, forward=forward)
    return finish(policy, folder, len(groups), dropped, result)


METHOD = Method(RewardSettings, train_reward)
