"""The objective of policy gradients: a clipped surrogate on sampled completions, with what is logged of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from charter.training.kl import k3
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs, Head
from charter.training.objective import Tally
from charter.training.policy_tokens import Reading, logprobs_and_entropies
from charter.training.rl_losses import (
    clipped_share,
    clipped_surrogate,
    completion_mean,
    constant_length_mean,
    mean_log_ratio,
    token_mean,
)
from charter.training.segments import Segments, completions_of

Ratio = Literal["token", "mean", "sum"]
Aggregation = Literal["grpo", "dr_grpo", "dapo"]
Averaging = Callable[[Segments, Tensor | None], tuple[Tensor, Tensor]]


def averaging_of(aggregation: Aggregation, longest: int) -> Averaging:
    """grpo: mean over completions of means over tokens; dr_grpo: sums over tokens divided by `longest`; dapo: mean over
    all tokens.
    """
    kinds: dict[Aggregation, Averaging] = {
        "grpo": completion_mean,
        "dr_grpo": partial(constant_length_mean, tokens=longest),
        "dapo": token_mean,
    }
    return kinds[aggregation]


@dataclass(frozen=True)
class Surrogate:
    """How a policy's loss is made of log-ratios and advantages.

    ratio: whose ratio is clipped: each token's; the geometric mean over a completion's tokens (GSPO); the whole
    completion's, their product (RLOO).  clip_low, clip_high, dual_clip: see `clipped_surrogate`.
    kl_weight: of the reference's k3, added to each token's loss.  entropy_weight: of the policy's entropy at a token,
    taken from its loss (Williams and Peng 1991; Schulman et al. 2017, arXiv 1707.06347, eq. 9).
    """

    averaging: Averaging
    ratio: Ratio = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    kl_weight: float = 0.0
    entropy_weight: float = 0.0

    def log_ratios(self, log_ratio_N: Tensor, completions: Segments) -> Tensor:
        """The log-ratios that are clipped, at each token (N,)."""
        if self.ratio == "token":
            return log_ratio_N
        mean = self.ratio == "mean"
        return completions.spread(mean_log_ratio(log_ratio_N, completions) if mean else completions.sum(log_ratio_N))


@dataclass(frozen=True)
class Learned:
    """What is learned from, per key and token of a group's completions in their order, without gradient.

    keep: boolean, the tokens that count.  old: the policy's log-probs at the time of the rollout; without them those of
    this forward are taken, of a policy that has not been updated since.  sampled: log-probs by what sampled, to be
    compared with this forward's; only where that is of the same weights.  importance: factor of each token's loss.
    """

    advantages: Mapping[str, Tensor]
    keep: Mapping[str, Tensor]
    old: Mapping[str, Tensor] = field(default_factory=dict)
    reference: Mapping[str, Tensor] = field(default_factory=dict)
    sampled: Mapping[str, Tensor] = field(default_factory=dict)
    importance: Mapping[str, Tensor] = field(default_factory=dict)


def of_row(values: Mapping[str, Tensor], row: Row, device: torch.device) -> Tensor | None:
    """The row's values, (N,); None where there are none."""
    return torch.cat([values[group.key] for group in row.groups]).to(device) if values else None


@dataclass(frozen=True)
class PolicyObjective:
    """Sampled completions under a Surrogate."""

    surrogate: Surrogate
    learned: Learned

    def weight(self, group: Group) -> float:
        """Completions, or tokens, that count: what the surrogate's mean is over."""
        completions = Segments.of([len(completion) for completion in group.completions])
        return float(self.surrogate.averaging(completions, self.learned.keep[group.key])[1].sum())

    def row_loss(self, logprobs: CompletionLogprobs, row: Row, tally: Tally) -> Tensor:
        """Summed loss of a row, and its entropy to the log."""
        logp_N, entropy_N = logprobs(row, partial(_read, row.target_N, self.reading))
        return self.loss(logp_N, row, tally) - self.bonus(entropy_N, row, tally)

    @property
    def reading(self) -> Reading:
        """How the policy is read: its entropy has a gradient where there is a bonus for it."""
        return Reading(entropy_gradient=self.surrogate.entropy_weight > 0)

    def bonus(self, entropy_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed entropy bonus of a row; the mean entropy at the tokens that count goes to the log."""
        keep_N = of_row(self.learned.keep, row, entropy_N.device)
        assert keep_N is not None
        tally.add("entropy", entropy_N.detach()[keep_N].sum(), int(keep_N.sum()))
        if not self.surrogate.entropy_weight:
            return entropy_N.new_zeros(())
        shares_N, _ = self.surrogate.averaging(completions_of(row, entropy_N.device), keep_N)
        return self.surrogate.entropy_weight * (entropy_N.where(keep_N, 0) * shares_N).sum()

    def idle(self, logprobs: CompletionLogprobs, row: Row) -> Tensor:
        """One forward, that counts nothing."""
        logp_N, _ = logprobs(row, partial(_read, row.target_N, self.reading))
        zero: Tensor = 0 * logp_N.sum()
        return zero

    def loss(self, logp_N: Tensor, row: Row, tally: Tally) -> Tensor:
        """Summed loss of a row, from the log-probs of its completions' tokens."""
        how, device = self.surrogate, logp_N.device
        read = partial(of_row, row=row, device=device)
        advantages_N, keep_N = read(self.learned.advantages), read(self.learned.keep)
        assert advantages_N is not None
        assert keep_N is not None
        completions = completions_of(row, device)
        old_N, sampled_N = read(self.learned.old), read(self.learned.sampled)
        log_ratio_N = logp_N - (logp_N.detach() if old_N is None else old_N)
        clipped_N = how.log_ratios(log_ratio_N, completions)
        losses_N = clipped_surrogate(clipped_N, advantages_N, how.clip_low, how.clip_high, how.dual_clip)
        importance_N = read(self.learned.importance)
        if importance_N is not None:
            losses_N = losses_N * importance_N
        reference_N = read(self.learned.reference)
        if how.kl_weight and reference_N is not None:
            # As in TRL the correction for another engine is of the surrogate alone.
            losses_N = losses_N + how.kl_weight * k3(logp_N, reference_N)
        shares_N, _ = how.averaging(completions, keep_N)
        count = int(keep_N.sum())
        with torch.no_grad():
            held_N = clipped_share(clipped_N, advantages_N, how.clip_low, how.clip_high)
            if old_N is not None:
                tally.add("clipped", held_N[keep_N].sum(), count)
                tally.add("kl_old", k3(-log_ratio_N[keep_N], torch.zeros_like(log_ratio_N[keep_N])).sum(), count)
            if sampled_N is not None:
                apart_N = (logp_N - sampled_N).abs()
                tally.add("logprob_gap", apart_N.sum(), len(apart_N))
                tally.peak("logprob_gap_max", apart_N.max())
        return (losses_N.where(keep_N, 0) * shares_N).sum()


def _read(target_N: Tensor, how: Reading, head: Head, hidden_ND: Tensor) -> tuple[Tensor, Tensor]:
    return logprobs_and_entropies(head, hidden_ND, target_N.to(hidden_ND.device), how)
