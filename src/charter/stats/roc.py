"""The area under the ROC curve of a score: how often a positive row scores above a negative one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Auc:
    """The area with its interval, and how many rows of each kind it is from."""

    value: float
    low: float
    high: float
    positives: int
    negatives: int


def auc(scores: Sequence[float], positive: Sequence[bool], confidence: float = 0.95) -> Auc | None:
    """P(score of a positive row > score of a negative one) + half the chance of a tie; None without both kinds.

    The variance is the one of DeLong, DeLong and Clarke-Pearson 1988 (placement values); the interval is symmetric on
    the logit scale, so that it stays in [0, 1] (Pepe 2003, section 5.2.5). At an area of 0 or 1 that variance is 0:
    then the side that is open comes from Hanley and Lippman-Hand's 3 / n, of the smaller group.
    """
    import numpy as np

    if len(scores) != len(positive):
        raise ValueError(f"every score needs one label, got {len(scores)} scores and {len(positive)} labels")
    values = np.asarray(scores, dtype=np.float64)
    is_positive = np.asarray(positive, dtype=bool)
    x_M, y_N = np.sort(values[is_positive]), np.sort(values[~is_positive])
    m, n = len(x_M), len(y_N)
    if m == 0 or n == 0:
        return None
    # Placements: of each positive row the share of negatives below it, of each negative the share of positives above.
    over_M = (np.searchsorted(y_N, x_M, "left") + np.searchsorted(y_N, x_M, "right")) / (2 * n)
    under_N = 1 - (np.searchsorted(x_M, y_N, "left") + np.searchsorted(x_M, y_N, "right")) / (2 * m)
    area = float(over_M.mean())
    variance = sum(float(np.var(part, ddof=1)) / len(part) for part in (over_M, under_N) if len(part) > 1)
    if variance <= 0 or area in (0.0, 1.0):
        width = min(1.0, 3 / min(m, n))
        return Auc(area, max(0.0, area - width), min(1.0, area + width), m, n)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = math.log(area / (1 - area))
    half = z * math.sqrt(variance) / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-(centre + sign * half))) for sign in (-1, 1))
    return Auc(area, low, high, m, n)
