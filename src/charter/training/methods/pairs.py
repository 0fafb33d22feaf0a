"""What all methods on preference pairs share: scores of the two sides, logging, the reference, the run.

A method is a `PairLoss`: which score a side has, and the loss of the two scores. The reference is the policy as the run
finds it: its log-probs are computed once before training and cached, so no second model is held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from charter.ports import Observer
from charter.records import Preference
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs, sum_by_completion
from charter.training.loop import train
from charter.training.losses import nll_loss
from charter.training.methods.base import Trained, check_strengths, finish, need_rows
from charter.training.objective import Tally
from charter.training.observing import observation
from charter.training.policy import trainable_policy
from charter.training.reference import cached_reference
from charter.training.rows import preference_groups
from charter.training.scoring import tail_weights
from charter.training.settings import TrainSettings
from charter.training.watch_settings import WatchSettings, watch_field


class PairSettings(TrainSettings):
    """What every method on pairs has."""

    learning_rate: float = Field(5e-5, gt=0, description="Peak learning rate.")
    watch: WatchSettings | None = watch_field()


@dataclass(frozen=True)
class PairLoss:
    """What a method makes of a pair.

    A side's score is its summed log-prob; less the reference's, unless `reference` is off; divided by its number of
    tokens, if `per_token`.  tail_weight: how much tokens beyond the shorter side's length count (see `tail_weights`).
    function: (chosen_P, rejected_P) → losses_P, from scores.  reward_scale: a logged reward is this times the score.
    sft_weight adds the chosen completion's length-normalised negative log-likelihood (RPO; Liu et al. 2024,
    arXiv 2405.16436), which keeps the chosen side from losing probability together with the rejected one.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    reward_scale: float
    reference: bool = True
    per_token: bool = False
    tail_weight: float = 1.0
    sft_weight: float = 0.0


@dataclass(frozen=True)
class PairObjective:
    """Groups of (chosen, rejected) under a PairLoss.

    reference: per key, log-probs (2,) of both sides under the reference, summed with the same tail weight; None for a
    method without one.  strengths: per key, how much a pair counts; 1 where it has no entry.
    """

    pair_loss: PairLoss
    reference: Mapping[str, Tensor] | None = None
    strengths: Mapping[str, float] | None = None

    def weight(self, group: Group) -> float:
        """The pair's strength: the loss is a mean over pairs, weighted by it."""
        return (self.strengths or {}).get(group.key, 1.0)

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed loss of a row's pairs."""
        how = self.pair_loss
        weighted_N = logp_N
        if how.tail_weight != 1:
            weighted_N = logp_N * tail_weights(row, how.tail_weight).to(logp_N.device)
        scores_P2 = sum_by_completion(weighted_N, row).view(-1, 2)
        lengths_P2 = scores_P2.new_tensor([[len(side) for side in group.completions] for group in row.groups])
        if self.reference is not None:
            reference_P2 = torch.stack([self.reference[group.key] for group in row.groups])
            scores_P2 = scores_P2 - reference_P2.to(scores_P2.device)
        if how.per_token:
            scores_P2 = scores_P2 / lengths_P2
        losses_P = how.function(scores_P2[:, 0], scores_P2[:, 1])
        pairs = len(row.groups)
        with torch.no_grad():
            rewards_P2 = how.reward_scale * scores_P2
            tally.add("margin", (rewards_P2[:, 0] - rewards_P2[:, 1]).sum(), pairs)
            tally.add("accuracy", (scores_P2[:, 0] > scores_P2[:, 1]).float().sum(), pairs)
            tally.add("chosen_reward", rewards_P2[:, 0].sum(), pairs)
            tally.add("rejected_reward", rewards_P2[:, 1].sum(), pairs)
        if how.sft_weight:
            nll_P = nll_loss(sum_by_completion(logp_N, row).view(-1, 2)[:, 0], 1 / lengths_P2[:, 0])
            tally.add("chosen_nll", nll_P.detach().sum(), pairs)
            losses_P = losses_P + how.sft_weight * nll_P
        return (losses_P * losses_P.new_tensor([self.weight(group) for group in row.groups])).sum()


def train_pairs(
    model: str,
    rows: Sequence[Preference],
    settings: PairSettings,
    folder: Path,
    *,
    pair_loss: PairLoss,
    title: str,
    observer: Observer | None = None,
) -> Trained:
    """Optimise `model` on preferences; the reference, if any, is `model` itself. The result is `folder/model`.

    Raises UserError when no row can be used or a row's strength is not in (0, 1].
    """
    check_strengths(rows, title)
    policy = trainable_policy(model, settings.lora, settings.seed)
    groups, dropped = preference_groups(rows, policy.format, settings.max_tokens)
    need_rows(groups, rows, dropped, title)
    reference = None
    if pair_loss.reference:
        reference = cached_reference(
            CompletionLogprobs(policy.model),
            groups,
            settings.row_tokens,
            policy.digest,
            folder / "reference",
            pair_loss.tail_weight,
        )
    objective = PairObjective(pair_loss, reference, {row.id: row.strength for row in rows})
    looks = observation(policy, observer, folder, settings.max_tokens)
    result = train(
        policy.model, objective, groups, settings, folder, title=title, identity=policy.digest, observation=looks
    )
    return finish(policy, folder, len(groups), dropped, result)
