"""Rank correlation with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from charter.stats.intervals import z_of


def spearman(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> tuple[float, float, float] | None:
    """(rho, low, high); None for fewer than four rows or when one side is constant.

    The interval is on Fisher's z with the variance of Bonett and Wright 2000: (1 + rho²/2) / (n - 3).
    """
    from scipy.stats import rankdata

    n = len(first)
    if n < 4 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    ranks = [rankdata(side) - (n + 1) / 2 for side in (first, second)]
    rho = float(ranks[0] @ ranks[1] / math.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1])))
    if abs(rho) >= 1 - 1e-12:
        return math.copysign(1.0, rho), math.copysign(1.0, rho), math.copysign(1.0, rho)
    half = z_of(level) * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
