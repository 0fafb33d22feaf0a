"""Bursts of nearly the same prompt: many within few rows, from anyone or from one caller, or far more than before.

Three statistics, each the maximum over all groups of near-duplicates, each with its share of the false alarms:
`burst` and `caller burst` ask whether a group's rows stand closer together than their number explains (the scan
statistic of Kulldorff 1997 over rows in order); `repeated` asks whether a group stands in the stream and hardly in the
reference. Thresholds come from dealing the groups' rows out anew over the places of reference and stream.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

SMALLEST: Final = 5
"""Fewer near-duplicates than this are no burst."""
KINDS: Final = ("burst", "caller burst", "repeated")

Group = npt.NDArray[np.int64]
"""Places of near-duplicates, increasing; the reference has the places before the stream's."""


@dataclass(frozen=True)
class Burst:
    """One group past the threshold. rows: its rows in the stream (indices there), those of the dense stretch for a
    burst.  caller: whose, for a caller burst."""

    kind: str
    rows: tuple[int, ...]
    caller: str | None
    statistic: float
    threshold: float


def find_bursts(
    groups: Sequence[Sequence[int]], callers: Sequence[str | None], reference: int, alpha: float, seed: int
) -> list[Burst]:
    """Bursts among groups of near-duplicate places; none with probability 1 - alpha or more if nothing changed.

    groups: places in the reference's rows followed by the stream's.  callers: of every place.
    reference: how many of the places are the reference's.
    """
    total = len(callers)
    sized = [np.array(sorted(group), dtype=np.int64) for group in groups if len(group) >= SMALLEST]
    owned: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, group in enumerate(sized):
        for place in group.tolist():
            if callers[place] is not None:
                owned[number, str(callers[place])].append(place)
    by_caller: list[tuple[str | None, Group]] = [
        (who, np.array(places)) for (_, who), places in owned.items() if len(places) >= SMALLEST
    ]
    families: dict[str, list[tuple[str | None, Group]]] = {
        "burst": [(None, group) for group in sized],
        "caller burst": by_caller,
        "repeated": [(None, group) for group in sized],
    }
    found = []
    for kind, members in families.items():
        if members:
            found += _of_kind(kind, members, reference, total, alpha / len(KINDS), seed)
    return found


def _of_kind(
    kind: str, members: Sequence[tuple[str | None, Group]], reference: int, total: int, alpha: float, seed: int
) -> list[Burst]:
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    draws = math.ceil(4 / alpha) - 1
    allowed = math.floor(alpha * (draws + 1) + 1e-9)
    sizes = [len(group) for _, group in members]
    seen = [_statistic(kind, group, reference, total) for _, group in members]
    top = max(value for value, _ in seen)
    largest = np.full(allowed, -np.inf)
    for _ in range(draws):
        places = rng.choice(total, sum(sizes), replace=False) if sum(sizes) < total else rng.permutation(total)
        parts = np.split(places, np.cumsum(sizes)[:-1])
        chance = max(_statistic(kind, np.sort(part), reference, total)[0] for part in parts)
        if chance > largest[0]:
            largest[0] = chance
            largest.sort()
            if largest[0] >= top:
                return []
    threshold = max(float(largest[0]), 0.0)
    return [
        Burst(kind, tuple((rows - reference).tolist()), who, value, threshold)
        for (who, _), (value, rows) in zip(members, seen, strict=True)
        if value > threshold and len(rows) >= SMALLEST
    ]


def _statistic(kind: str, group: Group, reference: int, total: int) -> tuple[float, Group]:
    if kind == "repeated":
        return prevalence(group, reference, total)
    return densest(group, reference, total)


def densest(group: Group, reference: int, total: int) -> tuple[float, Group]:
    """(log-likelihood ratio of the group's densest stretch within the stream, the stretch's places).

    A stretch of L of the N rows with k of the group's s members has
    k ln(k N / (s L)) + (s - k) ln((s - k) N / (s (N - L))); for each k the shortest stretch is the densest.
    """
    inside = group[group >= reference]
    if len(inside) < 2:
        return 0.0, inside[:0]
    s = len(group)
    counts_K = _counts(len(inside))
    spans = [inside[k - 1 :] - inside[: len(inside) - k + 1] for k in counts_K.tolist()]
    start_K = np.array([int(np.argmin(span)) for span in spans])
    length_K = np.array([float(span.min()) + 1.0 for span in spans])
    k, out = counts_K.astype(float), (s - counts_K).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = k * np.log(k * total / (s * length_K))
        ratio += np.where(out > 0, out * np.log(out * total / (s * np.maximum(total - length_K, 1e-9))), 0.0)
    ratio = np.where(k * total > s * length_K, ratio, 0.0)
    best = int(np.argmax(ratio))
    return float(ratio[best]), inside[start_K[best] : start_K[best] + counts_K[best]]


def _counts(most: int) -> npt.NDArray[np.int64]:
    """Numbers of members looked for in one stretch: all up to 30, then every tenth part more, and all of them."""
    few = np.arange(2, min(most, 30) + 1)
    many = np.geomspace(30, most, 1 + max(1, int(10 * math.log(most / 30) + 1))) if most > 30 else np.empty(0)
    return np.unique(np.append(few, np.round(many).astype(int)))


def prevalence(group: Group, reference: int, total: int) -> tuple[float, Group]:
    """(-ln of the chance that so many of the group's members fall into the stream, those in the stream)."""
    inside = group[group >= reference]
    return _log_tail(len(inside), total, len(group), total - reference), inside


@lru_cache(maxsize=100_000)
def _log_tail(inside: int, total: int, size: int, stream: int) -> float:
    return float(-hypergeom.logsf(inside - 1, total, size, stream))
