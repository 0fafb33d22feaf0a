"""Losses as pure functions on log-probs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
