"""How far a proxy can be optimised before the truth falls: the curves of Gao et al. 2022 (arXiv 2210.10760).

With d the square root of KL(policy || reference) in nats and R the true reward less the reference's,
best-of-n follows R = d (alpha - beta d) and RL follows R = d (alpha - beta log d). alpha says how steeply the reward
rises at first, beta how soon it turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Form = Literal["best_of_n", "rl"]


@dataclass(frozen=True)
class Curve:
    """A fitted curve.

    r2: share of the rewards' variance that it explains; None when they do not vary, negative when it fits worse than
    their mean.  peak: distance d at which its reward is highest; None when it has no peak (beta <= 0).
    furthest: the largest distance that was measured: a peak beyond it is a guess.
    """

    form: Form
    alpha: float
    beta: float
    r2: float | None
    peak: float | None
    furthest: float

    def reward(self, distance: float) -> float:
        """R at a distance d >= 0; 0 at d = 0."""
        return self.alpha * distance - self.beta * _bend(self.form, distance)

    @property
    def peak_reward(self) -> float | None:
        """R at the peak."""
        return None if self.peak is None else self.reward(self.peak)


def fit(form: Form, distances: Sequence[float], rewards: Sequence[float]) -> Curve | None:
    """Least squares in alpha and beta; None for fewer than three different distances above zero.

    distances: d = sqrt(KL), >= 0.  rewards: true rewards less the reference's, so that R(0) = 0.
    Raises ValueError for a distance that is negative or no number, and for lists of different lengths.
    """
    import numpy as np

    if len(distances) != len(rewards):
        raise ValueError(f"{len(distances)} distances were given for {len(rewards)} rewards")
    if not all(math.isfinite(d) and d >= 0 for d in distances) or not all(map(math.isfinite, rewards)):
        raise ValueError("distances must be numbers >= 0 and rewards numbers: leave out what was not measured")
    if len({d for d in distances if d > 0}) < 3:
        return None
    design = np.array([[d, -_bend(form, d)] for d in distances])
    wanted = np.array(rewards, dtype=float)
    (alpha, beta), *_ = np.linalg.lstsq(design, wanted, rcond=None)
    spread = float(((wanted - wanted.mean()) ** 2).sum())
    missed = float(((wanted - design @ np.array([alpha, beta])) ** 2).sum())
    r2 = 1 - missed / spread if spread > 0 else None
    return Curve(form, float(alpha), float(beta), r2, _peak(form, float(alpha), float(beta)), max(distances))


def best_of_n_kl(n: int) -> float:
    """KL of the best of n samples from what they were sampled from: log n - (n - 1) / n, in nats.

    Exact when no two samples tie (Stiennon et al. 2020, appendix G.3), an upper bound otherwise (Beirami et al. 2024,
    arXiv 2401.01879).
    """
    if n < 1:
        raise ValueError("best of n needs at least one sample")
    return math.log(n) - (n - 1) / n


def best_of_n_mean(by: Sequence[float], of: Sequence[float], n: int) -> float:
    """Mean of `of` at the best of n samples by `by`, without bias: over all sets of n of the samples given.

    by, of: two rewards of the same samples of one prompt, at least n of them; equals in `by` count in the order given.
    Nakano et al. 2021 (arXiv 2112.09332), appendix I, as in Gao et al. 2022.
    """
    if len(by) != len(of) or not 1 <= n <= len(by):
        raise ValueError(f"the best of {n} was asked for of {len(by)} and {len(of)} rewards")
    best_first = sorted(range(len(by)), key=lambda i: -by[i])
    # The chance that the sample of rank i is the best of n: that all others of the set rank behind it.
    chance, mean = n / len(by), 0.0
    for rank, i in enumerate(best_first):
        mean += chance * of[i]
        behind = len(by) - rank - 1
        chance *= (behind - n + 1) / behind if behind else 0.0
    return mean


def _bend(form: Form, d: float) -> float:
    if form == "best_of_n":
        return d * d
    return d * math.log(d) if d > 0 else 0.0


def _peak(form: Form, alpha: float, beta: float) -> float | None:
    if beta <= 0:
        return None
    if form == "best_of_n":
        return alpha / (2 * beta) if alpha > 0 else None
    # dR/dd = alpha - beta (log d + 1); a nearly straight line peaks beyond anything that can be said of it.
    return math.exp(alpha / beta - 1) if alpha / beta < 700 else None
