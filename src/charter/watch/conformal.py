"""Where a value stands among all before it: ranks that are uniform and independent as long as nothing changes.

With the reference first and ties broken at random, the p-value of row t is its rank among the reference and the stream
so far. If rows are exchangeable these p-values are independent and uniform on [0, 1], exactly, whatever the values'
distribution and however small the reference (Vovk, Gammerman and Shafer 2005, section 8.2). So detectors that read them
need no guess at the distribution.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from typing import Final

import numpy as np

from charter.watch.traffic import Floats

MIXTURE: Final = 0.1
"""The share of unusual rows that the cumulative sum is tuned to."""
POWER: Final = 0.2
"""The density of an unusual row's p-value, POWER p^(POWER - 1): steep at 0."""
RENEWALS: Final = 0.01
FLOOR: Final = 3.0
"""Below this sum the tail is not yet exponential."""


def conformal_p(reference_N: Floats, stream_T: Floats, seed: int) -> Floats:
    """p-values of the stream's rows, shape (T,): small where a row is higher than those before it.

    Neither array may hold values that are not numbers; leave such rows out.
    """
    rng = np.random.default_rng(seed)
    tie_T = rng.random(len(stream_T))
    seen = np.sort(reference_N).tolist()
    out_T = np.empty(len(stream_T))
    for t, value in enumerate(stream_T.tolist()):
        low, high = bisect_left(seen, value), bisect_right(seen, value)
        above, equal = len(seen) - high, high - low + 1
        out_T[t] = (above + tie_T[t] * equal) / (len(seen) + 1)
        insort(seen, value)
    return out_T


def bets(p_T: Floats) -> Floats:
    """Log-likelihood ratios of "a share MIXTURE of rows is unusual" against "uniform", shape (T,): mean of the
    exponential is 1 under uniform p."""
    return np.asarray(np.log(1 - MIXTURE + MIXTURE * POWER * np.maximum(p_T, 1e-12) ** (POWER - 1)))


def cusum_threshold(length: int, alpha: float) -> float:
    """A cumulative sum of `bets` (Page 1954) passes this within `length` rows with chance of at most alpha.

    The chance of passing a high h within n rows is c n exp(-h): the bets are log-likelihood ratios, so each start makes
    a martingale that ever passes exp(h) with chance of at most exp(-h) (Ville 1939), and few starts count as separate
    (Siegmund 1985, section 2.6). RENEWALS is c, above what `experiments/watch/calibrate.py` measures.
    """
    return max(math.log(max(length, 1) * RENEWALS / alpha), FLOOR)


def cusum_alarms(bets_T: Floats, threshold: float) -> list[tuple[int, int, float]]:
    """(row where the sum began, row of the alarm, sum) of each alarm; the sum restarts at 0 after it."""
    alarms = []
    total, begun = 0.0, 0
    for t, bet in enumerate(bets_T.tolist()):
        if total <= 0.0:
            total, begun = 0.0, t
        total += bet
        if total > threshold:
            alarms.append((begun, t, total))
            total = 0.0
    return alarms
