"""Estimates of KL(policy || reference) from samples of the policy (Schulman 2020, "Approximating KL divergence")."""

from __future__ import annotations

from torch import Tensor


def k1(logp: Tensor, reference: Tensor) -> Tensor:
    """log pi - log ref, of any shape: unbiased, of either sign, and of large variance."""
    return logp - reference


def k3(logp: Tensor, reference: Tensor) -> Tensor:
    """(r - 1) - log r with r = ref / pi, of any shape: unbiased as well, and never negative. One a token, in nats."""
    log_r = reference - logp
    return log_r.expm1() - log_r
