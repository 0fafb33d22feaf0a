"""Losses of reward models as pure functions on rewards (fp32): one value per pair, completion or step, and head.

Shapes end in K, the heads; everything is element-wise over them. The caller averages.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry_loss(chosen_PK: Tensor, rejected_PK: Tensor, margin_P1: Tensor | float = 0.0) -> Tensor:
    """Pairwise loss: -log sigmoid(r_chosen - r_rejected - m), shape (P, K).

    margin_P1: by how much the chosen side is asked to win.  Bradley and Terry 1952; Ouyang et al. 2022, eq. 1;
    Touvron et al. 2023 (Llama 2), eq. 2 for the margin.
    """
    return -F.logsigmoid(chosen_PK - rejected_PK - margin_P1)


def centring_loss(chosen_PK: Tensor, rejected_PK: Tensor) -> Tensor:
    """Squared sum of a pair's rewards, shape (P, K): pairs alone leave the level of rewards free, this holds it near 0.

    Eisenstein et al. 2023 (arXiv 2312.09244), section on underspecification.
    """
    return (chosen_PK + rejected_PK).square()


def sign_loss(costs_CK: Tensor, harmful_C1: Tensor) -> Tensor:
    """Whether a completion is harmful, as the sign of its cost: -log sigmoid(s c), shape (C, K).

    harmful_C1: boolean; s is 1 where it is true, else -1.  The two last terms of Dai et al. 2023 (Safe RLHF,
    arXiv 2310.12773), eq. 6; the first is `bradley_terry_loss` with the more harmful side in the chosen one's place.
    """
    return -F.logsigmoid(torch.where(harmful_C1, costs_CK, -costs_CK))


def regression_loss(values_CK: Tensor, scores_C1: Tensor) -> Tensor:
    """Squared distances from the scores, shape (C, K)."""
    return (values_CK - scores_C1).square()


def step_loss(values_SK: Tensor, labels_S1: Tensor) -> Tensor:
    """Cross-entropy of step labels, shape (S, K).

    labels_S1: chance in [0, 1] that the step is right.  Lightman et al. 2023 (arXiv 2305.20050), where it is 0 or 1;
    Wang et al. 2024 (Math-Shepherd, arXiv 2312.08935), eq. 2.
    """
    return F.binary_cross_entropy_with_logits(values_SK, labels_S1.expand_as(values_SK), reduction="none")
