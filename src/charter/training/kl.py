"""How far the policy has gone from its reference: estimates from sampled tokens, and the strength of the tether.

Estimates are per token, of KL(policy || reference), for tokens that the policy sampled: k1, k2 and k3 of Schulman 2020
("Approximating KL divergence", joschu.net/blog/kl-approx.html). `divergence.py` has the exact one, at a vocabulary's
price.
As penalties in a reward all three serve; k1 is what PPO's papers use. As terms of a loss they differ: k2's gradient is
that of KL(policy || reference) in expectation, k3's that of KL(reference || policy), k1's is zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]

_MAX_LOG_RATIO = 20.0
"""exp of it is 5e8: a token that the reference finds so much likelier says no more than that it does."""
_MAX_ERROR = 0.2


def k1(logp_N: Tensor, reference_N: Tensor) -> Tensor:
    """log pi - log ref, (N,): unbiased, of either sign. A policy is paid for tokens that it finds unlikelier than the
    reference does, also those it only came to by forced or filtered sampling: then the KL can run away below zero.
    """
    return logp_N - reference_N


def k2(logp_N: Tensor, reference_N: Tensor) -> Tensor:
    """(log pi - log ref)² / 2, (N,): never negative, biased, of low variance."""
    return (logp_N - reference_N).square() / 2


def k3(logp_N: Tensor, reference_N: Tensor) -> Tensor:
    """ref / pi - 1 + log(pi / ref), (N,): unbiased and never negative.

    Constant, without gradient, where log ref - log pi is beyond 20.
    """
    ratio_N = (logp_N - reference_N).clamp(min=-_MAX_LOG_RATIO)
    # expm1 keeps the digits that exp(x) - 1 loses near zero; what rounding is left must not make it negative.
    return (torch.expm1(-ratio_N) + ratio_N).clamp(min=0)


ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


@dataclass(frozen=True)
class KlControl:
    """The weight of the KL penalty: fixed, or steered to a target by a proportional controller.

    beta: the weight now, >= 0.  target: KL per completion to hold, in nats; None leaves beta fixed.
    horizon: completions over which an error of 20% changes beta by 20%.
    After n completions with a mean KL of d, beta becomes beta (1 + clip(d / target - 1, -0.2, 0.2) n / horizon).
    Ziegler et al. 2019 (arXiv 1909.08593), section 2.2.
    Raises ValueError for numbers out of range.
    """

    beta: float
    target: float | None = None
    horizon: float | None = None

    def __post_init__(self) -> None:
        if (self.target is None) != (self.horizon is None):
            raise ValueError("an adaptive KL weight needs a target and a horizon; a fixed one has neither")
        if self.beta < 0 or (self.target is not None and self.target <= 0):
            raise ValueError("the KL weight must not be negative, and its target must be above zero")

    def after(self, kl: float, completions: int) -> KlControl:
        """The control for the next batch. kl: mean over completions of their summed estimates, which may be negative.

        Raises ValueError for a KL that is no number, and for a batch so large that beta could change its sign.
        """
        if self.target is None or self.horizon is None:
            return self
        if not math.isfinite(kl):
            raise ValueError(f"the KL of the batch is {kl}: the weight of its penalty cannot follow it")
        if _MAX_ERROR * completions >= self.horizon:
            raise ValueError(f"a horizon of {self.horizon} is too short for batches of {completions} completions")
        error = min(max(kl / self.target - 1, -_MAX_ERROR), _MAX_ERROR)
        return replace(self, beta=self.beta * (1 + error * completions / self.horizon))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: float64, so that a resumed run goes on bit by bit."""
        return {"beta": torch.tensor(self.beta, dtype=torch.float64)}

    def restored(self, tensors: Mapping[str, Tensor]) -> KlControl:
        """This control as it was when `tensors` were made."""
        return replace(self, beta=float(tensors["beta"]))
