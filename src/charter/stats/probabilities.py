"""How good stated probabilities are: Brier score and calibration error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bin:
    """Statements of like confidence: how many, their mean, and the share that came true."""

    n: int
    stated: float
    true: float


def brier(probabilities: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Mean squared distance of probability and outcome, in [0, 1], 0.25 for always saying one half (Brier 1950).

    Raises ValueError without rows, or for a probability outside [0, 1].
    """
    _check(probabilities, outcomes)
    return math.fsum((p - bool(o)) ** 2 for p, o in zip(probabilities, outcomes, strict=True)) / len(probabilities)


def calibration_bins(
    probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10, low: float = 0.0
) -> list[Bin]:
    """Rows by probability, in `bins` equal intervals of [low, 1]; empty ones are left out."""
    _check(probabilities, outcomes)
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for p, outcome in zip(probabilities, outcomes, strict=True):
        place = int((p - low) / (1 - low) * bins)
        members[min(max(place, 0), bins - 1)].append((p, bool(outcome)))
    return [
        Bin(len(rows), math.fsum(p for p, _ in rows) / len(rows), sum(o for _, o in rows) / len(rows))
        for rows in members
        if rows
    ]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean over rows of |stated - true| of their bin (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599, eq. 5)."""
    return math.fsum(b.n * abs(b.stated - b.true) for b in bins) / sum(b.n for b in bins)


def _check(probabilities: Sequence[float], outcomes: Sequence[bool]) -> None:
    if not probabilities or len(probabilities) != len(outcomes):
        raise ValueError(f"as many outcomes as probabilities, got {len(outcomes)} and {len(probabilities)}")
    if not all(0 <= p <= 1 for p in probabilities):
        raise ValueError("a probability lies in [0, 1]")
