"""Rewards per token: the KL penalty everywhere, the score at the end, and what an answer without an end gets.

Axes: N completion tokens, C completions; see `segments.py`. A score that is NaN was not given (a judge failed): such
completions are left out with `scored_tokens`, never counted as zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from charter.training.segments import Segments


def token_rewards(
    scores_C: Tensor, kl_N: Tensor, beta: float, completions: Segments, keep_N: Tensor | None = None
) -> Tensor:
    """-beta · kl at each token, plus the score at the completion's last one, (N,), fp32.

    kl_N: an estimate of `kl.py`.  keep_N: tokens that the policy wrote: the others get 0, and the score stands at the
    last that is kept. A completion without any has no reward.
    Raises ValueError for a completion that has tokens to train on and no score.
    Ziegler et al. 2019 (arXiv 1909.08593), eq. 2; Huang et al. 2024 (arXiv 2403.17031): the last real token, never one
    of padding.
    """
    last_C = completions.last(keep_N)
    rewarded_C = last_C >= 0
    unscored = (scores_C.isnan() & rewarded_C).nonzero()
    if len(unscored):
        raise ValueError(f"completion {int(unscored[0])} has no score: leave its tokens out with `scored_tokens`")
    rewards_N = (-beta * kl_N.detach().float()).where(completions.kept(keep_N), 0)
    return rewards_N.index_add(0, last_C[rewarded_C], scores_C[rewarded_C].float())


def scored_tokens(scores_C: Tensor, completions: Segments, keep_N: Tensor | None = None) -> Tensor:
    """Which tokens are kept and belong to a completion that has a score, boolean (N,)."""
    return completions.kept(keep_N) & completions.spread(~scores_C.isnan())


def set_missing_end(scores_C: Tensor, ended_C: Tensor, score: float) -> Tensor:
    """Completions that were cut before their end of turn get `score` in the place of what they had, (C,).

    ended_C: boolean.  Whoever wrote no end is marked so also where no score was given.
    Huang et al. 2024 (arXiv 2403.17031), with -1.
    """
    return scores_C.where(ended_C, score)


def penalise_missing_end(scores_C: Tensor, ended_C: Tensor, penalty: float) -> Tensor:
    """Completions that were cut before their end of turn lose `penalty`, (C,): TRL's `missing_eos_penalty`.

    A score that could be anything leaves the policy free to ramble where rewards are high; see `set_missing_end`.
    """
    return scores_C.where(ended_C, scores_C - penalty)


def clip_scores(scores_C: Tensor, low: float, high: float) -> Tensor:
    """Scores between two bounds, (C,), before the KL penalty: the score alone is clipped, not what is taken from it."""
    return torch.clamp(scores_C, low, high)
