"""Is this window still like the reference? All measures at once, with the false-alarm rate of the whole set stated.

Reference and window rows are pooled, and window labels handed out anew at random. Where nothing has changed, the
observed labelling is one of these, so the chance that its most extreme measure is among the k most extreme of B + 1 is
at most k / (B + 1), at any sample size and however the measures depend on each other (max-T permutation: Westfall and
Young 1993). Measures are put on one scale by their mean and spread over permutations of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from charter.watch.columns import Columns
from charter.watch.measures import ROOTS, Labels, Measure, Pool, Singles, measure, prepare_embedded
from charter.watch.traffic import Floats

MAX_SIDE: Final = 2000
"""Rows of a side that a test looks at; more of them are sampled."""
SCALING: Final = 200
"""Permutations that give each measure its scale."""
TAIL: Final = 2
"""Permutations that may be as extreme as a window that alarms: more sharpen the threshold and cost time."""
CHUNK_CELLS: Final = 600_000


@dataclass(frozen=True)
class Side:
    """The rows of one side. embedded: name to (which rows have an embedding, shape (N,); embeddings, (N, D))."""

    columns: Columns
    size: int
    embedded: dict[str, tuple[npt.NDArray[np.bool_], Singles]]

    def rows(self, index: npt.NDArray[np.int64]) -> Side:
        """The same for some rows."""
        embedded = {name: (has[index], values[index]) for name, (has, values) in self.embedded.items()}
        return Side(self.columns.rows(index), len(index), embedded)


@dataclass(frozen=True)
class Drifted:
    """One measure of a window past its threshold; both on the measure's own scale (PSI is PSI, not its root)."""

    measure: Measure
    statistic: float
    threshold: float
    sigmas: float
    """How many standard deviations of its permutations it lies above their mean."""


def window_drift(reference: Side, window: Side, alpha: float, seed: int) -> list[Drifted]:
    """What has drifted in this window, most extreme first; empty with probability 1 - alpha or more when nothing has.

    Both sides hold at most MAX_SIDE rows.
    """
    rng = np.random.default_rng(seed)
    pool, observed_1M = _pooled(reference, window, rng)
    scaling_BM = _permuted(observed_1M[0], SCALING, rng)
    names, values_BK = _measured(pool, scaling_BM)
    mean_K, spread_K = values_BK.mean(axis=0), values_BK.std(axis=0)
    live_K = spread_K > 1e-12
    if not live_K.any():
        return []
    _, seen_1K = measure(pool, observed_1M)
    z_K = _standard(seen_1K, mean_K, spread_K, live_K)[0]
    beyond = _tail(pool, observed_1M[0], float(z_K.max()), mean_K, spread_K, live_K, alpha, rng)
    if beyond is None:
        return []
    found = [
        Drifted(names[k], _own_scale(names[k], seen_1K[0, k]),
                _own_scale(names[k], mean_K[k] + spread_K[k] * beyond), float(z_K[k]))
        for k in np.argsort(-z_K) if z_K[k] > beyond
    ]  # fmt: skip
    return found


def permutations_needed(alpha: float) -> int:
    """How many permutations a window is compared with before it may alarm."""
    return math.ceil(TAIL / alpha) - 1


def _tail(
    pool: Pool, observed_M: Labels, top: float, mean_K: Floats, spread_K: Floats, live_K: Labels, alpha: float,
    rng: np.random.Generator,
) -> float | None:  # fmt: skip
    """The threshold for the standardised maximum, or None as soon as it is clear that `top` does not pass it.

    The window alarms when fewer than k = floor(alpha (B + 1)) of B permutations are as extreme; giving up at the k-th
    changes no decision (Besag and Clifford 1991), and most windows without drift end there after some dozens.
    """
    total = permutations_needed(alpha)
    allowed = math.floor(alpha * (total + 1) + 1e-9)
    largest = np.full(allowed, -np.inf)
    done, size = 0, 64
    while done < total:
        count = min(size, total - done)
        _, values_BK = _measured(pool, _permuted(observed_M, count, rng))
        tops_B = _standard(values_BK, mean_K, spread_K, live_K).max(axis=1)
        largest = np.sort(np.append(largest, tops_B))[-allowed:]
        if largest[0] >= top:
            return None
        done, size = done + count, size * 2
    return float(largest[0])


def _measured(pool: Pool, labels_BM: Labels) -> tuple[list[Measure], Floats]:
    """`measure` in chunks that fit the cache."""
    step = max(1, CHUNK_CELLS // pool.size)
    parts = [measure(pool, labels_BM[start : start + step]) for start in range(0, len(labels_BM), step)]
    return parts[0][0], np.concatenate([values for _, values in parts])


def _standard(values_BK: Floats, mean_K: Floats, spread_K: Floats, live_K: Labels) -> Floats:
    """Values in standard deviations above the mean; a measure that never varies is left out."""
    scaled_BK = (values_BK - mean_K) / np.where(live_K, spread_K, 1.0)
    return np.where(live_K, scaled_BK, -np.inf)


def _permuted(observed_M: Labels, count: int, rng: np.random.Generator) -> Labels:
    return rng.permuted(np.broadcast_to(observed_M, (count, observed_M.size)), axis=1)


def _own_scale(which: Measure, value: float) -> float:
    return float(value) ** 2 if which.name in ROOTS else float(value)


def _pooled(reference: Side, window: Side, rng: np.random.Generator) -> tuple[Pool, Labels]:
    """The rows of both sides in an order that says nothing of their side, and the observed labelling, (1, M)."""
    size = reference.size + window.size
    order_M = rng.permutation(size)
    labels_1M = (order_M >= reference.size)[None, :]

    def joined(left: Floats, right: Floats) -> Floats:
        return np.concatenate([left, right])[order_M]

    ours, theirs = reference.columns, window.columns
    columns = Columns(
        {name: joined(values, theirs.numbers[name]) for name, values in ours.numbers.items()},
        {name: joined(values, theirs.shares[name]) for name, values in ours.shares.items()},
        {name: joined(values, theirs.mixes[name]) for name, values in ours.mixes.items()},
        ours.clause_of,
    )
    embedded = {}
    for name, (has, values_ND) in reference.embedded.items():
        other_has, other_ND = window.embedded[name]
        rows_S = np.flatnonzero(np.concatenate([has, other_has])[order_M])
        if rows_S.size > 1:
            all_MD = np.concatenate([values_ND, other_ND])[order_M]
            embedded[name] = (rows_S, *prepare_embedded(all_MD[rows_S]))
    return Pool(columns, size, embedded), labels_1M
