"""Losses as pure functions on log-probs (nats, fp32): one value per token, pair or completion; the caller averages.

A margin is a score of the chosen side less the same score of the rejected side. With a reference model the score is
the log-ratio, log pi(y|x) - log ref(y|x), summed over the completion's tokens unless a function says otherwise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_EXPONENT = 20.0
"""exp of it is 5e8: beyond any useful ratio of probabilities, far below fp32's largest number."""
_LEAST_SURPRISE = 1e-7
"""Mean log-probs nearer to zero than this are rounding; the odds p / (1 - p) would be infinite there."""


def nll_loss(logp_N: Tensor, weight_N: Tensor) -> Tensor:
    """Weighted negative log-likelihood per token, shape (N,); divide its sum by the batch's total weight."""
    return -logp_N * weight_N


def dpo_loss(margins_P: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Direct preference optimisation, with conservative label smoothing (cDPO).

    margins_P: per pair, (log pi/ref of chosen) - (log pi/ref of rejected), summed over tokens, in nats.
    beta: strength of the KL tether, > 0.  label_smoothing: chance that a label is flipped, in [0, 0.5).
    Returns per-pair losses, shape (P,).  Rafailov et al. 2023, eq. 7; Mitchell 2023 for the smoothing.
    """
    return -(1 - label_smoothing) * F.logsigmoid(beta * margins_P) - label_smoothing * F.logsigmoid(-beta * margins_P)


def robust_dpo_loss(margins_P: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """DPO's loss made unbiased for labels flipped with a known chance; it can be negative.

    margins_P, beta: as in `dpo_loss`.  label_smoothing: the chance e of a flip, in [0, 0.5).
    Returns ((1 - e) l(m) - e l(-m)) / (1 - 2e), shape (P,).  Ray Chowdhury et al. 2024 (arXiv 2403.00409).
    """
    kept, flipped = -F.logsigmoid(beta * margins_P), -F.logsigmoid(-beta * margins_P)
    return ((1 - label_smoothing) * kept - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def ipo_loss(margins_P: Tensor, beta: float) -> Tensor:
    """Identity preference optimisation: the margin is pulled to 1 / (2 beta) instead of pushed to infinity.

    margins_P: as in `dpo_loss` (method `ipo`), or of log-ratios averaged over each side's tokens (method `ipo_mean`).
    Returns squared distances, shape (P,).  Azar et al. 2023 (arXiv 2310.12036), eq. 17, where beta is called tau.
    """
    return (margins_P - 1 / (2 * beta)).square()


def hinge_loss(margins_P: Tensor, beta: float) -> Tensor:
    """The hinge of SLiC, on log-ratios: max(0, 1 - beta m), shape (P,).

    margins_P, beta: as in `dpo_loss`.  Zhao et al. 2023 (arXiv 2305.10425), in the form with a reference of
    Liu et al. 2023 (arXiv 2309.06657).
    """
    return F.relu(1 - beta * margins_P)


def chi_po_loss(chosen_P: Tensor, rejected_P: Tensor, beta: float, max_reward: float) -> Tensor:
    """Chi-squared preference optimisation: DPO with the link phi(z) = z + log z in the place of log z.

    chosen_P, rejected_P: log-ratios, summed over tokens.  max_reward: R, the largest reward believed possible.
    Returns -log sigmoid(clip(beta phi(rho_w) - beta phi(rho_l), -2R, 2R)), shape (P,), with rho = pi / ref. A pair
    outside the clip has no gradient.  Huang et al. 2024 (arXiv 2407.13399), algorithm 1. exp(log-ratio) stops growing
    at a log-ratio of 20, so that it stays finite.
    """
    link_P2 = [ratio + ratio.clamp(max=_MAX_EXPONENT).exp() for ratio in (chosen_P, rejected_P)]
    margins_P = beta * (link_P2[0] - link_P2[1])
    return -F.logsigmoid(margins_P.clamp(-2 * max_reward, 2 * max_reward))


def simpo_loss(margins_P: Tensor, beta: float, gamma: float) -> Tensor:
    """Simple preference optimisation: no reference, a target margin.

    margins_P: per pair, difference of the sides' log-probs, each averaged over its tokens.  gamma: target margin >= 0
    of the reward beta · mean log-prob.
    Returns -log sigmoid(beta m - gamma), shape (P,).  Meng et al. 2024 (arXiv 2405.14734).
    """
    return -F.logsigmoid(beta * margins_P - gamma)


def orpo_loss(chosen_P: Tensor, rejected_P: Tensor) -> Tensor:
    """The odds-ratio term of ORPO: -log sigmoid(log odds(chosen) - log odds(rejected)), shape (P,).

    chosen_P, rejected_P: log-probs averaged over each side's tokens, <= 0; odds(p) = p / (1 - p).
    Hong et al. 2024 (arXiv 2403.07691), eq. 7; the likelihood term is added by the method.
    """
    return -F.logsigmoid(_log_odds(chosen_P) - _log_odds(rejected_P))


def kto_loss(ratios_C: Tensor, desirable_C: Tensor, kl: Tensor | float, beta: float) -> Tensor:
    """Kahneman-Tversky optimisation, for single completions that were found good or bad.

    ratios_C: log-ratios, summed over tokens.  desirable_C: boolean.  kl: the reference point z >= 0, an estimate of
    KL(policy || reference) without gradient.
    Returns 1 - sigmoid(beta (r - z)) for desirable ones, 1 - sigmoid(beta (z - r)) for the others, shape (C,); the
    caller weighs the two kinds.  Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 7.
    """
    gains_C = beta * (ratios_C - kl)
    # 1 - sigmoid(x) = sigmoid(-x), without the cancellation.
    return torch.sigmoid(torch.where(desirable_C, -gains_C, gains_C))


def _log_odds(logp: Tensor) -> Tensor:
    logp = logp.clamp(max=-_LEAST_SURPRISE)
    # log(1 - p) in the form that keeps digits on each side of p = 1/2 (Mächler 2012); `where` alone would pass NaN
    # gradients from the form not taken, so each form sees only the values it is good for.
    likely = logp > -0.6931
    near = torch.log(-torch.expm1(torch.where(likely, logp, -0.6931)))
    far = torch.log1p(-torch.exp(torch.where(likely, -0.6931, logp)))
    return logp - torch.where(likely, near, far)
