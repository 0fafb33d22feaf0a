"""Detectors that read one row after another: CUSUM for a sudden share of unusual rows, Page-Hinkley for a slow creep,
ADWIN (river's) for a new level. What each may cost in false alarms is a part of the stream's whole, fixed beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from charter.models.extras import require
from charter.watch.conformal import bets, conformal_p, cusum_alarms, cusum_threshold
from charter.watch.traffic import Floats

DETECTORS: Final = ("cusum", "page-hinkley", "adwin")
ADWIN_CLOCK: Final = 32
PH_DELTA: Final = 0.02
"""A shift of the mean rank that Page-Hinkley bears with; ranks lie in [0, 1]."""
PH_STREAMS: Final = 4000
PH_LONGEST: Final = 4000
"""Rows over which Page-Hinkley's threshold is simulated; a longer stream spends its share block by block."""


@dataclass(frozen=True)
class Streamed:
    """One alarm. row: index in the stream at which it was raised; since: where its evidence began.
    direction: "up" or "down", of the series."""

    detector: str
    row: int
    since: int
    direction: str
    statistic: float
    threshold: float


def detect(reference_N: Floats, stream_T: Floats, length: int, alpha: float, seed: int) -> list[Streamed]:
    """Alarms of the three detectors over one series, in order of rows.

    Rows that are not numbers are passed over. length: of the stream, T or more. If reference and stream are
    exchangeable, no alarm is raised with probability 1 - alpha or more.
    """
    at_t = np.flatnonzero(~np.isnan(stream_T))
    values_t, known = stream_T[at_t], reference_N[~np.isnan(reference_N)]
    if not values_t.size or not known.size:
        return []
    share = alpha / len(DETECTORS)
    p_t = conformal_p(known, values_t, seed)
    found = [*_cusums(p_t, length, share), *_page_hinkleys(p_t, share), *_adwins(known, values_t, length, share)]
    moved = [
        Streamed(f.detector, int(at_t[f.row]), int(at_t[f.since]), f.direction, f.statistic, f.threshold) for f in found
    ]
    return sorted(moved, key=lambda one: (one.row, one.detector))


def _cusums(p_t: Floats, length: int, alpha: float) -> list[Streamed]:
    threshold = cusum_threshold(length, alpha / 2)
    found = []
    for direction, series in (("up", p_t), ("down", 1 - p_t)):
        for since, row, total in cusum_alarms(bets(series), threshold):
            found.append(Streamed("cusum", row, since, direction, total, threshold))
    return found


def _page_hinkleys(p_t: Floats, alpha: float) -> list[Streamed]:
    """Two-sided Page-Hinkley on 1 - p (high where the series is high), restarted for every block of PH_LONGEST rows."""
    drift = require_river()
    blocks = math.ceil(len(p_t) / PH_LONGEST)
    length = min(len(p_t), PH_LONGEST)
    threshold = page_hinkley_threshold(_rounded_up(length), alpha / blocks)
    found = []
    for start in range(0, len(p_t), PH_LONGEST):
        for direction, sign in (("up", 1.0), ("down", -1.0)):
            detector = drift.PageHinkley(
                min_instances=1, delta=PH_DELTA, threshold=threshold, alpha=1.0, mode=direction
            )
            for t in range(start, min(start + PH_LONGEST, len(p_t))):
                detector.update(1.0 - p_t[t])
                if detector.drift_detected:
                    found.append(
                        Streamed("page-hinkley", t, start, direction, _ph_statistic(detector, sign), threshold)
                    )
    return found


def _ph_statistic(detector: Any, sign: float) -> float:
    if sign > 0:
        return float(detector._sum_increase - detector._min_increase)
    return float(detector._max_decrease - detector._sum_decrease)


def _rounded_up(length: int) -> int:
    """The next of a few lengths: their thresholds are simulated once."""
    return next(size for size in (100, 250, 500, 1000, 2000, PH_LONGEST) if length <= size)


@lru_cache(maxsize=64)
def page_hinkley_threshold(length: int, alpha: float) -> float:
    """What Page-Hinkley, either side, passes within `length` independent uniform rows with chance of alpha.

    Simulated over PH_STREAMS streams of a fixed seed. Beyond what these can show (alpha under 20 / PH_STREAMS), the
    tail goes on as an exponential fitted to its last 5%, which is the form that it has (Siegmund 1985, chapter 2).
    """
    tops_S = np.sort(page_hinkley_maxima(length, PH_STREAMS, seed=1))
    visible = 20 / PH_STREAMS
    if alpha >= visible:
        return float(tops_S[math.ceil((1 - alpha) * PH_STREAMS)])
    body, tail = tops_S[int(0.95 * PH_STREAMS)], tops_S[int(0.95 * PH_STREAMS) :]
    return float(body + (tail.mean() - body) * math.log(0.05 / alpha))


def page_hinkley_maxima(length: int, streams: int, seed: int) -> Floats:
    """The largest two-sided Page-Hinkley statistic within each of `streams` streams of uniform numbers, (streams,)."""
    rng = np.random.default_rng(seed)
    return page_hinkley_tops(rng.random(streams) for _ in range(length))


def page_hinkley_tops(rows: Iterable[Floats]) -> Floats:
    """The same of streams side by side, given row by row: river's recursion, all streams at once."""
    mean = up = down = top = np.zeros(1)
    lowest, highest = np.full(1, np.inf), np.full(1, -1.0)
    for t, x in enumerate(rows, 1):
        mean = mean + (x - mean) / t
        up = up + x - mean - PH_DELTA
        down = down + x - mean + PH_DELTA
        lowest, highest = np.minimum(lowest, up), np.maximum(highest, down)
        top = np.maximum(top, np.maximum(up - lowest, highest - down))
    return top


def _adwins(reference_N: Floats, values_t: Floats, length: int, alpha: float) -> list[Streamed]:
    """ADWIN on the raw values, warmed up with the reference. Its delta is a bound for each check: alpha is split.

    Values outside [0, 1] are brought there by the reference's range. Bifet and Gavalda 2007, theorem 3.1.
    """
    low, high = float(reference_N.min()), float(reference_N.max())
    low, high = min(low, 0.0), max(high, 1.0)
    delta = alpha / (math.ceil(length / ADWIN_CLOCK) + 1)
    detector = require_river().ADWIN(delta=delta, clock=ADWIN_CLOCK)
    scaled = np.clip((np.concatenate([reference_N, values_t]) - low) / (high - low), 0.0, 1.0)
    begin = len(reference_N)
    found = []
    for n, value in enumerate(scaled.tolist()):
        width = int(detector.width) + 1
        detector.update(value)
        if n >= begin and detector.drift_detected:
            split, change, cut = _best_split(scaled[n + 1 - width : n + 1], delta)
            since = max(0, n + 1 - width + split - begin)
            found.append(Streamed("adwin", n - begin, since, "up" if change > 0 else "down", abs(change), cut))
    return found


def _best_split(window: Floats, delta: float) -> tuple[int, float, float]:
    """(where ADWIN's window splits most clearly, change of the mean there, how large it has to be).

    The cut is the paper's eq. 3.1 as river computes it; river looks at the splits between its buckets, this at all.
    """
    shortest = 5
    width = len(window)
    splits = np.arange(shortest, width - shortest + 1)
    sums = np.cumsum(window)
    before, after = sums[splits - 1] / splits, (sums[-1] - sums[splits - 1]) / (width - splits)
    reciprocal = 1 / (splits - shortest + 1) + 1 / (width - splits - shortest + 1)
    log_term = math.log(2 * math.log(width) / delta)
    cuts = np.sqrt(2 * reciprocal * window.var() * log_term) + 2 / 3 * log_term * reciprocal
    best = int(np.argmax(np.abs(after - before) / cuts))
    return int(splits[best]), float(after[best] - before[best]), float(cuts[best])


def require_river() -> Any:
    """river's drift module. Raises UserError naming the command that installs it."""
    require("river", "`charter watch`", extra="watch")
    from river import drift

    return drift
