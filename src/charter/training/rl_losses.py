"""Losses of online RL as pure functions (nats, fp32), one value per token or completion, and how they are averaged.

Most work element by element on log-ratios, log pi - log of the policy that sampled, per token (N) or per completion
(C): which of the two is what tells PPO and GRPO from GSPO and RLOO. Advantages carry no gradient.
A batch's loss is (sum of weighted losses) / (sum of completions' weights), by `completion_mean`, `token_mean` or
`constant_length_mean`: sums over rows, devices and accumulated passes add up, and the split does not change the loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from charter.training.segments import Segments

_MAX_LOG_RATIO = 20.0
"""A ratio of 5e8 is beyond anything that a clip or a cap lets through, and far below fp32's largest number."""


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> Tensor:
    """PPO's clipped surrogate, negated to be a loss: -min(r A, clip(r, 1 - low, 1 + high) A), elementwise.

    log_ratio: log r, with gradient.  advantages: of the same shape.
    clip_low, clip_high: equal in PPO and GRPO; DAPO's clip-higher has 0.2 and 0.28, so that unlikely tokens can grow.
    dual_clip: c > 1 + clip_high: where A < 0 the loss is at most -c A, without gradient beyond, so that a token that
    has become far likelier cannot drown all others. TRL's `delta`, two-sided clipping, is the same.
    Schulman et al. 2017 (arXiv 1707.06347), eq. 7; Ye et al. 2019 (arXiv 1912.09729), eq. 5; Yu et al. 2025
    (arXiv 2503.14476), eq. 10 for the two clips.
    """
    ratio = log_ratio.clamp(max=_MAX_LOG_RATIO).exp()
    advantages = advantages.detach()
    kept = torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
    if dual_clip is not None:
        kept = torch.where(advantages < 0, torch.maximum(kept, dual_clip * advantages), kept)
    return -kept


def clipped_share(log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Where the clip holds the gradient back, boolean, elementwise: r above and A > 0, or r below and A < 0."""
    ratio = log_ratio.detach().exp()
    return ((ratio > 1 + clip_high) & (advantages > 0)) | ((ratio < 1 - clip_low) & (advantages < 0))


def mean_log_ratio(log_ratio_N: Tensor, completions: Segments, keep_N: Tensor | None = None) -> Tensor:
    """Log of GSPO's ratio, (pi(y|x) / old(y|x))^(1/length), (C,): the mean over a completion's tokens.

    With advantages (C,), the mean over completions of `clipped_surrogate` is GSPO; clips are near 3e-4 there.
    The sum instead, `completions.sum`, is the ratio of whole completions, as in TRL's RLOO.
    Zheng et al. 2025 (arXiv 2507.18071), eq. 7.
    """
    return completions.mean(log_ratio_N, keep_N)


def value_loss(values_N: Tensor, old_N: Tensor, returns_N: Tensor, clip: float | None) -> Tensor:
    """Half the squared distance of the critic's values from the returns, (N,).

    old_N: values at the time of the rollout.  clip: values further than this from the old ones count as clipped, if
    that makes the loss larger; None leaves it out.
    max((V - R)², (clip(V, old - clip, old + clip) - R)²) / 2, as in OpenAI's baselines; Huang et al. 2024
    (arXiv 2403.17031).
    """
    squares_N = (values_N - returns_N).square()
    if clip is not None:
        near_N = old_N + (values_N - old_N).clamp(-clip, clip)
        squares_N = torch.maximum(squares_N, (near_N - returns_N).square())
    return squares_N / 2


@torch.no_grad()
def engine_log_ratio(trained_N: Tensor, sampled_N: Tensor) -> Tensor:
    """Log-probs by the weights that are trained less those that another engine reported when it sampled, (N,).

    trained_N: at the time of the rollout.  sampled_N: NaN where the engine reported none; the ratio is 1 there.
    For the ratio of whole completions take `completions.sum` of it, and weigh all tokens of a completion alike.
    """
    return torch.nan_to_num(trained_N - sampled_N, nan=0.0)


@torch.no_grad()
def truncated_importance(log_ratio: Tensor, cap: float) -> Tensor:
    """min(r, cap): what a loss is multiplied with when another engine sampled, elementwise, without gradient.

    log_ratio: `engine_log_ratio` per token, or its sum per completion. The cap makes it biased and bounds its variance.
    Ionides 2008; Yao et al. 2025 ("Your efficient RL framework secretly brings you off-policy RL training").
    """
    return log_ratio.clamp(max=_MAX_LOG_RATIO).exp().clamp(max=cap)


@torch.no_grad()
def masked_importance(log_ratio: Tensor, low: float, high: float) -> Tensor:
    """r where it is within [low, high], else 0: what the engines disagree on too much is not learnt from.

    log_ratio: as in `truncated_importance`.  TRL's modes `token_mask` and `sequence_mask`.
    """
    ratio = log_ratio.clamp(max=_MAX_LOG_RATIO).exp()
    return ratio.where((ratio >= low) & (ratio <= high), 0)


def completion_mean(completions: Segments, keep_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean over completions of the mean over tokens: GRPO. A token of a long answer counts less than one of a short.

    Returns (weight of each token's loss (N,), weight of each completion (C,)), fp32, as all three averagings do: the
    batch's loss is the sum of weighted losses over the sum of completions' weights. Tokens that are not kept weigh 0,
    and so does a completion that has no others.  Shao et al. 2024 (arXiv 2402.03300), eq. 3.
    """
    counts_C = completions.counts(keep_N)
    shares_N = completions.kept(keep_N) / completions.spread(counts_C.clamp(min=1))
    return shares_N, (counts_C > 0).float()


def token_mean(completions: Segments, keep_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean over all tokens of the batch: DAPO, and PPO. A long answer counts more than a short one.

    Weights as in `completion_mean`.  Yu et al. 2025 (arXiv 2503.14476), eq. 8.
    """
    return completions.kept(keep_N).float(), completions.counts(keep_N).float()


def constant_length_mean(completions: Segments, keep_N: Tensor | None = None, *, tokens: int) -> tuple[Tensor, Tensor]:
    """Sum over tokens divided by a constant, mean over completions: Dr. GRPO. A token counts the same anywhere.

    tokens: the length of the longest completion that may be sampled, >= 1.  Weights as in `completion_mean`.
    Liu et al. 2025 (arXiv 2503.20783), section 3.
    """
    return completions.kept(keep_N) / tokens, (completions.counts(keep_N) > 0).float()
