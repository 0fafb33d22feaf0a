"""Tests of paired yes-or-no outcomes that stay right however often one looks, for stopping early.

Each is an e-process: under its null hypothesis a non-negative supermartingale that starts at 1, so the chance that it
ever reaches 1/a is at most a (Ville 1939; Ramdas, Grünwald, Vovk, Shafer 2023, arXiv 2210.01948). Pairs must come in an
order that has nothing to do with their outcomes.

gained, lost: pairs that only the candidate, only the base got right, so far; n: all pairs so far.
"""

from __future__ import annotations

import math
from typing import Final, Literal

SHARE: Final = 0.5
"""What the looks may err, as a share of what the test at the full size errs: together at most 1.5 times that."""
_BETS: Final = 32

Early = Literal["kept", "fallen"]


def fall_evidence(gained: int, lost: int) -> float:
    """log e-value against "no fall": that a discordant pair is lost with a chance of at most 1/2.

    The likelihood ratio of a chance q against 1/2, mixed over q uniform on (1/2, 1), in closed form.
    """
    from scipy.special import betaln
    from scipy.stats import beta

    _check(gained, lost, gained + lost)
    tail = float(beta.logsf(0.5, lost + 1, gained + 1))
    return (gained + lost + 1) * math.log(2) + float(betaln(lost + 1, gained + 1)) + tail


def kept_evidence(gained: int, lost: int, n: int, margin: float) -> float:
    """log e-value against "fell by `margin` or more": that the mean difference is at most -margin.

    Bets on each difference d in {-1, 0, 1} by the factor 1 + b (d + margin), mixed over b evenly spaced in
    (0, 1 / (1 - margin)), where no factor is negative (Waudby-Smith and Ramdas 2024, arXiv 2010.09686, section 4).
    """
    import numpy as np
    from scipy.special import logsumexp

    _check(gained, lost, n)
    if not 0 < margin < 1:
        raise ValueError(f"a margin lies in (0, 1), got {margin}")
    bet_B = (np.arange(_BETS) + 0.5) / _BETS / (1 - margin)
    growth_B = (
        gained * np.log1p(bet_B * (1 + margin))
        + lost * np.log1p(bet_B * (margin - 1))
        + (n - gained - lost) * np.log1p(bet_B * margin)
    )
    return float(logsumexp(growth_B) - math.log(_BETS))


def early(gained: int, lost: int, n: int, margin: float, alpha: float = 0.05, metrics: int = 1) -> Early | None:
    """What is certain already, at whichever look: fallen, kept within the margin, or nothing yet.

    An unchanged metric is ever called fallen with a chance of at most SHARE · alpha / 2 over all `metrics` together
    (Bonferroni), one that fell by the margin is ever called kept with a chance of at most SHARE · alpha / 2.
    """
    level = SHARE * alpha / 2
    if fall_evidence(gained, lost) >= math.log(metrics / level):
        return "fallen"
    return "kept" if kept_evidence(gained, lost, n, margin) >= -math.log(level) else None


def looks(total: int, first: int = 64) -> list[int]:
    """The sizes at which to look, doubling, the full one last."""
    sizes = []
    size = first
    while size < total:
        sizes.append(size)
        size *= 2
    return [*sizes, total]


def _check(gained: int, lost: int, n: int) -> None:
    if gained < 0 or lost < 0 or gained + lost > n:
        raise ValueError(f"impossible pairs: {gained} gained and {lost} lost of {n}")
