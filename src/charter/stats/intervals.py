"""Confidence intervals for rates and for differences of rates, paired and unpaired.

Rates are in [0, 1]; `level` is the two-sided confidence, 0.95 unless said. Every function returns (low, high) and
raises ValueError on counts that cannot be (negative, or more successes than trials).
"""

from __future__ import annotations

import math
from statistics import NormalDist


def z_of(level: float) -> float:
    """The two-sided normal quantile: 1.96 for 0.95. Raises ValueError outside (0, 1)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"a confidence level lies in (0, 1), got {level}")
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval for one rate (Wilson 1927). With n = 0 nothing is known: (0, 1)."""
    _check(successes, n)
    if n == 0:
        return 0.0, 1.0
    z = z_of(level)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval for one rate (Clopper and Pearson 1934): covers at least `level`, whatever the rate."""
    _check(successes, n)
    z_of(level)
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.ppf(1 - tail, successes + 1, n - successes))
    return low, high


def newcombe_unpaired(
    base_successes: int, base_n: int, candidate_successes: int, candidate_n: int, level: float = 0.95
) -> tuple[float, float]:
    """Candidate rate minus base rate for two independent groups (Newcombe 1998b, method 10: hybrid of Wilson's)."""
    _check(base_successes, base_n)
    _check(candidate_successes, candidate_n)
    if base_n == 0 or candidate_n == 0:
        return -1.0, 1.0
    base, candidate = base_successes / base_n, candidate_successes / candidate_n
    base_low, base_high = wilson(base_successes, base_n, level)
    low, high = wilson(candidate_successes, candidate_n, level)
    delta = candidate - base
    return (
        delta - math.sqrt((candidate - low) ** 2 + (base_high - base) ** 2),
        delta + math.sqrt((high - candidate) ** 2 + (base - base_low) ** 2),
    )


def tango_z(gained: int, lost: int, n: int, delta: float) -> float:
    """Score statistic of H0: (candidate - base) = delta for paired binary outcomes (Tango 1998, eq. 10).

    gained: pairs where only the candidate succeeds; lost: only the base; n: all pairs. Standard normal under H0.
    """
    q = _null_lost_rate(gained, lost, n, delta)
    variance = n * (2 * q + delta * (1 - delta))
    distance = gained - lost - n * delta
    if variance <= 1e-12:
        return 0.0 if abs(distance) < 1e-9 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def tango_paired(gained: int, lost: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Candidate rate minus base rate on the same samples: Tango's (1998) score interval, by bisection.

    Keeps its coverage where discordant pairs are few, where Wald's interval collapses. With n = 0: (-1, 1).
    """
    if gained < 0 or lost < 0 or gained + lost > n:
        raise ValueError(f"impossible pairs: {gained} gained and {lost} lost of {n}")
    if n == 0:
        return -1.0, 1.0
    z = z_of(level)
    estimate = (gained - lost) / n

    def solve(outside: float, sign: float) -> float:
        inside = estimate
        for _ in range(60):
            middle = (inside + outside) / 2
            if sign * tango_z(gained, lost, n, middle) < z:
                inside = middle
            else:
                outside = middle
        return (inside + outside) / 2

    return solve(-1.0, 1.0), solve(1.0, -1.0)


def _null_lost_rate(gained: int, lost: int, n: int, delta: float) -> float:
    """Constrained maximum likelihood estimate of P(only the base succeeds) given the difference is delta."""
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    return min(max(q, max(0.0, -delta)), (1 - delta) / 2)


def _check(successes: int, n: int) -> None:
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"impossible counts: {successes} of {n}")
