"""What a paired comparison of n samples can see, computed exactly by enumeration.

discordance: share of samples whose verdict differs between the two sides, in [0, 1].
delta: candidate rate minus base rate; |delta| <= discordance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from charter.stats.intervals import z_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]


def mcnemar_power(n: int, delta: float, discordance: float, alpha: float = 0.05) -> float:
    """Chance that the exact two-sided McNemar test rejects in the direction of `delta`.

    The number of discordant pairs is binomial(n, discordance); given m of them, the pairs lost are binomial with
    chance (1 - delta / discordance) / 2. Raises ValueError when |delta| exceeds the discordance.
    """
    import numpy as np
    from scipy.stats import binom

    _check(n, delta, discordance)
    if discordance == 0 or n == 0:
        return 0.0
    m_M = np.arange(1, n + 1)
    weight_M = binom.pmf(m_M, n, discordance)
    kept = weight_M > 1e-12
    m_M, weight_M = m_M[kept], weight_M[kept]
    # The largest count of the rarer direction that still rejects: cdf(k) <= alpha / 2.
    k_M = binom.ppf(alpha / 2, m_M, 0.5)
    k_M = np.where(binom.cdf(k_M, m_M, 0.5) > alpha / 2, k_M - 1, k_M)
    rarer = (1 - abs(delta) / discordance) / 2
    return float(np.sum(weight_M * np.where(k_M >= 0, binom.cdf(k_M, m_M, rarer), 0.0)))


def detectable_difference(n: int, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest |delta| that the exact McNemar test sees with the wanted power, or None when none is.

    `discordance` is the churn expected without any change; a difference larger than it brings its own discordance,
    so the discordance used is max(discordance, |delta|).
    """
    if n <= 0:
        return None

    def seen(delta: float) -> bool:
        return mcnemar_power(n, delta, max(discordance, delta), alpha) >= power

    if not seen(1.0):
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def noninferiority_power(n: int, margin: float, discordance: float, delta: float = 0.0, level: float = 0.95) -> float:
    """Chance that Tango's interval of the difference ends up wholly above -margin, given the true `delta`.

    Its complement at delta = 0 is the chance that an unchanged model does not pass.
    """
    import numpy as np
    from scipy.stats import multinomial

    _check(n, delta, discordance)
    if n == 0:
        return 0.0
    gained_p, lost_p = (discordance + delta) / 2, (discordance - delta) / 2
    gained_GL, lost_GL = np.meshgrid(_likely(n, gained_p), _likely(n, lost_p), indexing="ij")
    possible = gained_GL + lost_GL <= n
    gained, lost = gained_GL[possible], lost_GL[possible]
    weight = multinomial.pmf(
        np.stack([gained, lost, n - gained - lost], axis=-1), n, [gained_p, lost_p, 1 - gained_p - lost_p]
    )
    return float(np.sum(weight[_above(gained, lost, n, -margin, level)]))


def kept_chances(
    n: int, margin: float, discordance: float, delta: float = 0.0, alpha: float = 0.05, level: float = 0.95
) -> tuple[float, float, float]:
    """Chances of (pass, regressed, inconclusive) by `charter.stats.noninferiority.kept`, given the true `delta`.

    alpha: at which a fall is shown; divide it by the number of metrics gated together for Holm's worst case.
    """
    import numpy as np
    from scipy.stats import binom, multinomial

    _check(n, delta, discordance)
    if n == 0:
        return 0.0, 0.0, 1.0
    gained_p, lost_p = (discordance + delta) / 2, (discordance - delta) / 2
    gained_GL, lost_GL = np.meshgrid(_likely(n, gained_p), _likely(n, lost_p), indexing="ij")
    possible = gained_GL + lost_GL <= n
    gained, lost = gained_GL[possible], lost_GL[possible]
    rest = np.clip([gained_p, lost_p, 1 - gained_p - lost_p], 0, 1)
    weight = multinomial.pmf(np.stack([gained, lost, n - gained - lost], axis=-1), n, rest)
    passes = _above(gained, lost, n, -margin, level)
    falls = (lost > gained) & (2 * binom.cdf(np.minimum(gained, lost), gained + lost, 0.5) <= alpha)
    # The upper limit lies below -margin where the lower limit of the mirrored table lies above it.
    falls |= _above(lost, gained, n, margin, level)
    passed = float(np.sum(weight[passes]))
    regressed = float(np.sum(weight[~passes & falls]))
    return passed, regressed, max(0.0, 1 - passed - regressed)


def _above(gained: IntArray, lost: IntArray, n: int, bound: float, level: float) -> NDArray[np.bool_]:
    """Where Tango's lower limit lies above `bound`: its score test rejects that difference, upwards."""
    import numpy as np

    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * bound
    c = -lost * bound * (1 - bound)
    q = (np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    deviation = np.sqrt(np.maximum(n * (2 * q + bound * (1 - bound)), 1e-300))
    above: NDArray[np.bool_] = (gained - lost - n * bound) / deviation > z_of(level)
    return above


def _likely(n: int, p: float) -> IntArray:
    """The counts of binomial(n, p) that carry all but about 1e-11 of its mass."""
    import numpy as np

    spread = 7 * math.sqrt(n * p * (1 - p)) + 8
    return np.arange(max(0, math.floor(n * p - spread)), min(n, math.ceil(n * p + spread)) + 1)


def _check(n: int, delta: float, discordance: float) -> None:
    if n < 0 or not 0 <= discordance <= 1 or abs(delta) > discordance + 1e-12:
        raise ValueError(f"impossible design: n {n}, delta {delta}, discordance {discordance}")
