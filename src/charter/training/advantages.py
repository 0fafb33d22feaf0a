"""Advantages: how much better a token or a completion was than expected. All are constants, without gradient.

Every library normalises differently under the same name, so each way has a name of its own here. Statistics are over
all that is given: a batch that is split over devices or forward passes must be joined before.
Axes: N completion tokens, C completions, G groups (one prompt each); see `segments.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from charter.training.segments import Segments

_LEAST_VARIANCE = 1e-8
"""Added to a variance before its root is taken, as TRL and verl do."""


@torch.no_grad()
def gae(
    rewards_N: Tensor,
    values_N: Tensor,
    completions: Segments,
    gamma: float,
    lam: float,
    keep_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation: (advantages_N, returns_N), fp32, returns being advantages + values.

    A_t = sum over k of (gamma lam)^k delta_{t+k}, with delta_t = r_t + gamma V_{t+1} - V_t and V = 0 behind the end.
    rewards_N: reward of each token.  values_N: the critic's value before it is said.  gamma, lam: in [0, 1].
    keep_N: the tokens that the policy wrote. The others (a tool's answer, say) are stepped over: the recursion goes
    from the token before them to the one behind, and they get 0.
    Schulman et al. 2015 (arXiv 1506.02438), eq. 16.
    """
    kept_N = completions.kept(keep_N)
    rewards, values, owner = rewards_N[kept_N].float(), values_N[kept_N].float(), completions.owner_M[kept_N]
    following = torch.zeros_like(values)
    following[:-1] = values[1:].where(owner[1:] == owner[:-1], 0)
    tails = _discounted_tails(rewards + gamma * following - values, gamma * lam, owner, completions.longest)
    advantages_N = torch.zeros_like(rewards_N, dtype=torch.float32).masked_scatter(kept_N, tails)
    return advantages_N, (advantages_N + values_N.float()).where(kept_N, 0)


@torch.no_grad()
def discounted_returns(rewards_N: Tensor, completions: Segments, gamma: float, keep_N: Tensor | None = None) -> Tensor:
    """sum over k of gamma^k r_{t+k} within each completion, (N,), fp32; masked tokens as in `gae`."""
    kept_N = completions.kept(keep_N)
    tails = _discounted_tails(rewards_N[kept_N].float(), gamma, completions.owner_M[kept_N], completions.longest)
    return torch.zeros_like(rewards_N, dtype=torch.float32).masked_scatter(kept_N, tails)


@torch.no_grad()
def whiten(values_N: Tensor, keep_N: Tensor | None = None, *, shift_mean: bool = True, unbiased: bool = True) -> Tensor:
    """(x - mean) / sqrt(var + 1e-8) over all that count, (N,), fp32; the others get 0.

    shift_mean: False scales and leaves the mean where it was: rewards whose zero has a meaning keep it.
    unbiased: divide the squares by n - 1, as TRL and verl do; OpenRLHF and REINFORCE++ divide by n. A single value has
    variance 0.  Huang et al. 2024 (arXiv 2403.17031) for where PPO whitens.
    """
    kept_N = torch.ones_like(values_N, dtype=torch.bool) if keep_N is None else keep_N
    if not kept_N.any():
        return torch.zeros_like(values_N, dtype=torch.float32)
    kept = values_N[kept_N].double()
    variance = (kept - kept.mean()).square().sum() / max(len(kept) - int(unbiased), 1)
    scaled = (values_N.double() - kept.mean()) / (variance + _LEAST_VARIANCE).sqrt()
    return (scaled if shift_mean else scaled + kept.mean()).where(kept_N, 0).float()


@torch.no_grad()
def grpo_advantages(rewards_C: Tensor, groups: Segments, epsilon: float) -> Tensor:
    """(r - mean of the group) / (std of the group + epsilon), (C,), fp32.

    rewards_C: NaN where nobody could score: left out of mean and std, and its advantage is 0. So is that of a group
    whose rewards are all equal, or of which only one is known.
    epsilon: TRL has 1e-4, verl 1e-6, OpenRLHF 1e-9. With rewards that differ little it sets the scale.
    The std divides by n - 1.  Shao et al. 2024 (arXiv 2402.03300), section 4.1.2.
    """
    centred_C, scored_C, counts_G = _centred(rewards_C, groups)
    variance_G = groups.sum(centred_C.square()) / (counts_G - 1).clamp(min=1)
    return _known(centred_C / (groups.spread(variance_G.sqrt()) + epsilon), scored_C)


@torch.no_grad()
def dr_grpo_advantages(rewards_C: Tensor, groups: Segments) -> Tensor:
    """r - mean of the group, (C,), fp32: no std, which would weigh prompts that are too easy or too hard more.

    rewards_C: as in `grpo_advantages`.  Liu et al. 2025 (arXiv 2503.20783), section 3.
    """
    centred_C, scored_C, _ = _centred(rewards_C, groups)
    return _known(centred_C, scored_C)


@torch.no_grad()
def batch_std_advantages(rewards_C: Tensor, groups: Segments, epsilon: float) -> Tensor:
    """(r - mean of the group) / (std of all rewards of the batch + epsilon), (C,), fp32.

    rewards_C, epsilon: as in `grpo_advantages`.  The std is that of the rewards, not of what is left after the group's
    mean is taken: TRL's `scale_rewards="batch"`.  Liu et al. 2025 (arXiv 2508.08221).
    """
    centred_C, scored_C, _ = _centred(rewards_C, groups)
    known = rewards_C[scored_C].double()
    std = known.std() if len(known) > 1 else known.new_zeros(())
    return _known(centred_C / (std + epsilon), scored_C)


@torch.no_grad()
def rloo_advantages(rewards_C: Tensor, groups: Segments) -> Tensor:
    """r - mean of the group's other rewards, (C,), fp32.

    rewards_C: as in `grpo_advantages`; a reward without others has advantage 0.  It is n / (n - 1) times Dr. GRPO's.
    Ahmadian et al. 2024 (arXiv 2402.14740); Kool et al. 2019.
    """
    centred_C, scored_C, counts_G = _centred(rewards_C, groups)
    counts_C = groups.spread(counts_G)
    return _known(centred_C * counts_C / (counts_C - 1).clamp(min=1), scored_C)


@torch.no_grad()
def reinforce_pp_advantages(
    rewards_N: Tensor, completions: Segments, gamma: float, keep_N: Tensor | None = None, *, unbiased: bool = True
) -> Tensor:
    """REINFORCE++: discounted returns of per-token rewards, whitened over all tokens of the batch, (N,), fp32.

    rewards_N: with the KL penalty in them, see `token_rewards.py`. For the variant with a baseline, make them of
    `dr_grpo_advantages` in the scores' place.  unbiased: see `whiten`.  Hu 2025 (arXiv 2501.03262).
    """
    return whiten(discounted_returns(rewards_N, completions, gamma, keep_N), keep_N, unbiased=unbiased)


def _centred(rewards_C: Tensor, groups: Segments) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards less their group's mean, float64, 0 where unscored; which are scored; how many a group.

    The mean of a group is exact: fp32 numbers are summed in float64 without rounding. So equal rewards give exactly 0,
    where in fp32 a rounded mean and an epsilon of 1e-9 would make advantages near 1 of nothing.
    """
    scored_C = ~rewards_C.isnan()
    rewards_C = rewards_C.float().double()
    centred_C = rewards_C - groups.spread(groups.mean(rewards_C, scored_C))
    return centred_C.where(scored_C, 0), scored_C, groups.counts(scored_C)


def _known(advantages_C: Tensor, scored_C: Tensor) -> Tensor:
    return advantages_C.where(scored_C, 0).float()


def _discounted_tails(values_K: Tensor, factor: float, owner_K: Tensor, longest: int) -> Tensor:
    """sum over k of factor^k x_{t+k} within each owner's run, (K,).

    By doubling: after i rounds each sum spans 2^i tokens, so log2(longest) rounds over flat tensors do what a recursion
    does in `longest`, and pairwise sums round less (Hillis and Steele 1986).
    """
    step = 1
    while step < min(longest, len(values_K)):
        reached = values_K[step:].where(owner_K[step:] == owner_K[:-step], 0)
        values_K = torch.cat([values_K[:-step] + factor**step * reached, values_K[-step:]])
        step *= 2
    return values_K
