"""Tests and intervals for the same samples measured twice: exact McNemar for verdicts, resampling for scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 10_000
FEW = 10
"""Below this many samples that behave otherwise than the rest, a bootstrap interval is not trusted alone."""
_CHUNK = 1_000_000  # resampled cells held at once: 8 MB


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar p: the discordant pairs are fair coin flips under no change.

    gained, lost: pairs that only the candidate, only the base got right. 1.0 when no pair is discordant.
    McNemar 1947, with the binomial in place of its chi-squared approximation.
    """
    return min(1.0, 2 * _lower_tail(min(gained, lost), gained + lost))


def mcnemar_midp(gained: int, lost: int) -> float:
    """Two-sided mid-p McNemar: the exact p less the point probability of what was seen.

    Less conservative than the exact test, and no longer guaranteed (Fagerland, Lydersen, Laake 2013).
    """
    n = gained + lost
    if gained == lost:
        return 1.0 if n == 0 else 1.0 - _point(gained, n)
    k = min(gained, lost)
    return min(1.0, 2 * _lower_tail(k, n) - _point(k, n))


def paired_bootstrap(
    differences: Sequence[float], level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Interval for the mean of per-sample differences: bias-corrected and accelerated bootstrap (Efron 1987).

    The same seed gives the same interval. Constant differences give a point; fewer than two give (-inf, inf),
    because one sample says nothing about spread. Raises ValueError on a value that is not finite.
    """
    import numpy as np
    from scipy.stats import norm

    values_N = _finite(differences)
    n = len(values_N)
    if n < 2:
        return -np.inf, np.inf
    mean = float(values_N.mean())
    if np.ptp(values_N) == 0:
        return mean, mean
    means_R = _resampled_means(values_N, resamples, seed)
    below = (np.sum(means_R < mean) + 0.5 * np.sum(means_R == mean)) / resamples
    bias = float(norm.ppf(np.clip(below, 1 / (resamples + 1), resamples / (resamples + 1))))
    # The jackknife of a mean is linear, so its skewness is that of the values themselves.
    centred_N = values_N - mean
    spread = float(np.sum(centred_N**2))
    acceleration = float(np.sum(centred_N**3)) / (6 * spread**1.5)
    tails = norm.ppf([(1 - level) / 2, (1 + level) / 2])
    ranks = norm.cdf(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    low, high = np.quantile(means_R, ranks)
    return float(low), float(high)


def paired_mean(
    differences: Sequence[float], span: float, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Interval for the mean of per-sample differences of scores whose values lie `span` apart at most.

    The bootstrap cannot see what it was not shown: where (nearly) all differences are equal it says that nothing else
    could have happened, even of two samples. So where fewer than FEW differ from the most common one, the interval is
    at least as wide as what n samples leave open when none of them changed: z^2 / (n + z^2) of the span on both sides
    (Tango's limit at no discordant pair, 1998). With span 0 nothing is known of the scale: (-inf, inf).
    Raises ValueError on a value that is not finite.
    """
    from charter.stats.intervals import z_of

    n = len(differences)
    if span <= 0 or n < 2:
        return -math.inf, math.inf
    low, high = paired_bootstrap(differences, level, resamples, seed)
    if n - Counter(round(d, 12) for d in differences).most_common(1)[0][1] >= FEW:
        return low, high
    mean = math.fsum(differences) / n
    z = z_of(level)
    unseen = span * z * z / (n + z * z)
    return min(low, mean - unseen), max(high, mean + unseen)


def sign_flip(differences: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p that per-sample differences are symmetric about zero: random sign flips, never exactly 0.

    Exact over all 2^n sign patterns for n <= 13 differences that are not zero; otherwise Monte Carlo with the
    add-one correction (Phipson and Smyth 2010). Raises ValueError on a value that is not finite.
    """
    import numpy as np

    values_N = _finite(differences)
    values_N = values_N[values_N != 0]
    n = len(values_N)
    if n == 0:
        return 1.0
    seen = abs(float(values_N.sum()))
    slack = 1e-9 * float(np.abs(values_N).sum())
    if n <= 13:
        patterns_PN = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(np.abs(patterns_PN @ values_N) >= seen - slack))
    rng = np.random.default_rng(seed)
    extreme = 0
    for rows in _chunks(resamples, n):
        signs_RN = 1.0 - 2.0 * rng.integers(0, 2, size=(rows, n))
        extreme += int(np.sum(np.abs(signs_RN @ values_N) >= seen - slack))
    return (extreme + 1) / (resamples + 1)


def _resampled_means(values_N: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    import numpy as np

    rng = np.random.default_rng(seed)
    n = len(values_N)
    parts = [values_N[rng.integers(0, n, size=(rows, n))].mean(axis=1) for rows in _chunks(resamples, n)]
    return np.concatenate(parts)


def _chunks(total: int, width: int) -> list[int]:
    size = max(1, _CHUNK // max(1, width))
    return [min(size, total - start) for start in range(0, total, size)]


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError("differences must be finite; leave unscored pairs out and count them")
    return array


def _lower_tail(k: int, n: int) -> float:
    from scipy.stats import binom

    if k < 0 or n < 0:
        raise ValueError(f"impossible discordant counts: {k} of {n}")
    return float(binom.cdf(k, n, 0.5)) if n else 1.0


def _point(k: int, n: int) -> float:
    from scipy.stats import binom

    return float(binom.pmf(k, n, 0.5))
