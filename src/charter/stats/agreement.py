"""Agreement between two raters of the same rows: Cohen's kappa with an interval, and the table behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa with its interval; `value` is nan when both raters use one and the same single label."""

    value: float
    low: float
    high: float
    n: int


def confusion(first: Sequence[str], second: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Counts with a row for each label of the first rater and a column for each of the second, shape (K, K).

    Raises ValueError when the lengths differ or a label is not in `labels`.
    """
    if len(first) != len(second):
        raise ValueError(f"both raters must rate the same rows, got {len(first)} and {len(second)}")
    place = {label: i for i, label in enumerate(labels)}
    unknown = sorted({*first, *second} - set(place))
    if unknown:
        raise ValueError(f"labels {unknown} are not among {list(labels)}")
    table = [[0] * len(labels) for _ in labels]
    for a, b in zip(first, second, strict=True):
        table[place[a]][place[b]] += 1
    return table


def cohen_kappa(table: Sequence[Sequence[int]], confidence: float = 0.95) -> Kappa:
    """Cohen's kappa of a square table of counts, with the large-sample interval.

    The standard error is the one of Fleiss, Cohen and Everitt 1969 (eq. 13), which holds away from kappa = 0; the
    interval is clipped to [-1, 1]. Raises ValueError for an empty or non-square table.
    """
    size = len(table)
    n = sum(map(sum, table))
    if n == 0 or any(len(row) != size for row in table):
        raise ValueError("kappa needs a square table with at least one count")
    p = [[count / n for count in row] for row in table]
    row = [sum(p[i]) for i in range(size)]
    column = [sum(p[i][j] for i in range(size)) for j in range(size)]
    observed = sum(p[i][i] for i in range(size))
    expected = sum(row[i] * column[i] for i in range(size))
    if math.isclose(expected, 1.0):
        return Kappa(math.nan, math.nan, math.nan, n)
    value = (observed - expected) / (1 - expected)
    on = sum(p[i][i] * ((1 - expected) - (row[i] + column[i]) * (1 - observed)) ** 2 for i in range(size))
    off = (1 - observed) ** 2 * sum(
        p[i][j] * (column[i] + row[j]) ** 2 for i in range(size) for j in range(size) if i != j
    )
    variance = on + off - (observed * expected - 2 * expected + observed) ** 2
    error = math.sqrt(max(variance, 0.0) / n) / (1 - expected) ** 2
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return Kappa(value, max(-1.0, value - z * error), min(1.0, value + z * error), n)
