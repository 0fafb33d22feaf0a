"""The true rate behind a rate that an imperfect judge measured, given how often it errs.

positive: rows of which the judge says yes; sensitivity: share of true yes rows that it calls yes; specificity: share of
true no rows that it calls no. The two are themselves estimates, from rows that people labelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from charter.stats.intervals import z_of


@dataclass(frozen=True, slots=True)
class Errors:
    """What labelled rows say of a judge: of `yes` true yes rows it found `hits`, of `no` true no rows it passed
    `passes`."""

    hits: int
    yes: int
    passes: int
    no: int

    def __post_init__(self) -> None:
        if not (0 <= self.hits <= self.yes and 0 <= self.passes <= self.no):
            raise ValueError(f"impossible counts: {self}")

    @property
    def sensitivity(self) -> float | None:
        return self.hits / self.yes if self.yes else None

    @property
    def specificity(self) -> float | None:
        return self.passes / self.no if self.no else None


@dataclass(frozen=True, slots=True)
class TrueRate:
    """The corrected rate and its interval, all in [0, 1]."""

    value: float
    low: float
    high: float


def rogan_gladen(positive: int, n: int, errors: Errors, level: float = 0.95) -> TrueRate | None:
    """(apparent + specificity - 1) / (sensitivity + specificity - 1), clipped to [0, 1] (Rogan and Gladen 1978).

    The interval is Lang and Reiczigel's (2014, Prev. Vet. Med. 113, eq. for unknown sensitivity and specificity): it
    carries the errors of the rate and of both of the judge's rates. None where nothing can be said: no row, no labelled
    row of one kind, or a judge that is not shown (at `level`, one-sided) to tell the two kinds apart.
    """
    if n < 0 or not 0 <= positive <= n:
        raise ValueError(f"impossible counts: {positive} of {n}")
    if not n or not errors.yes or not errors.no:
        return None
    z = z_of(level)
    sensitivity, specificity = errors.hits / errors.yes, errors.passes / errors.no
    informed = sensitivity + specificity - 1
    # Adjusted as Agresti and Coull do: the rate by z² rows, the judge's rates by one error and one hit each.
    size, yes, no = n + z * z, errors.yes + 2, errors.no + 2
    apparent = (positive + z * z / 2) / size
    se, sp = (errors.hits + 1) / yes, (errors.passes + 1) / no
    se_variance, sp_variance = se * (1 - se) / yes, sp * (1 - sp) / no
    youden = se + sp - 1
    if informed <= 0 or youden <= z_of(2 * level - 1) * math.sqrt(se_variance + sp_variance):
        return None
    value = min(1.0, max(0.0, (positive / n + specificity - 1) / informed))
    centre = (apparent + sp - 1) / youden
    shift = 2 * z * z * (centre * se_variance - (1 - centre) * sp_variance)
    variance = apparent * (1 - apparent) / size + centre**2 * se_variance + (1 - centre) ** 2 * sp_variance
    half = z * math.sqrt(variance) / youden
    low, high = (min(1.0, max(0.0, centre + shift + sign * half)) for sign in (-1, 1))
    # The estimate is not adjusted, the interval is: near 0 and 1 it could leave the estimate outside.
    return TrueRate(value, min(low, value), max(high, value))
