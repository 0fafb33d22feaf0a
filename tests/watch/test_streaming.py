"""Conformal p-values are uniform whatever the data; each detector keeps its false alarms and sees what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from river.drift import PageHinkley
from scipy.stats import binom, kstest

from charter.watch.conformal import RENEWALS, bets, conformal_p, cusum_alarms, cusum_threshold
from charter.watch.streaming import (
    PH_DELTA,
    _adwins,
    detect,
    page_hinkley_maxima,
    page_hinkley_threshold,
    page_hinkley_tops,
)


@pytest.mark.parametrize("kind", ["rare flag", "continuous"])
def test_p_values_are_uniform_and_independent_with_a_small_reference(kind: str) -> None:
    streams = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        values = (rng.random(35) < 0.05).astype(float) if kind == "rare flag" else rng.lognormal(size=35)
        streams.append(conformal_p(values[:5], values[5:], seed))
    p = np.array(streams)
    assert kstest(p.ravel(), "uniform").pvalue > 1e-3
    assert kstest(p[:, 0], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(p[:, 10], p[:, 11])[0, 1]) < 4 / np.sqrt(300)


def test_bets_are_likelihood_ratios() -> None:
    # Their mean under uniform p is 1: integrated on a grid that is fine where the density is steep.
    p = np.geomspace(1e-12, 1, 200_000)
    assert np.trapezoid(np.exp(bets(p)), p) == pytest.approx(1.0, abs=1e-3)


def test_the_constant_of_the_cusum_is_on_the_safe_side() -> None:
    rng = np.random.default_rng(0)
    total, top = np.zeros(4000), np.zeros(4000)
    for _ in range(400):
        total = np.maximum(total, 0) + bets(rng.random(4000))
        np.maximum(top, total, out=top)
    for alpha in (0.1, 0.02):
        assert (top > cusum_threshold(400, alpha)).mean() <= alpha
    measured = (top > 5).mean() * np.exp(5) / 400
    assert RENEWALS / 2 < measured < RENEWALS


def test_the_cusum_begins_where_the_change_did() -> None:
    p = np.full(100, 0.5)
    p[60::3] = 1e-4
    ((begun, row, total), *_) = cusum_alarms(bets(p), 6.0)
    assert 55 <= begun <= 60
    assert 60 < row < 75
    assert total > 6.0


def test_page_hinkley_is_rivers() -> None:
    rng = np.random.default_rng(3)
    streams = rng.random((4, 200))

    tops = page_hinkley_tops(streams.T)
    for stream, top in zip(streams, tops, strict=True):
        for threshold, alarms in ((top * 0.999, True), (top * 1.001, False)):
            seen = False
            for mode in ("up", "down"):
                detector = PageHinkley(min_instances=1, delta=PH_DELTA, threshold=threshold, alpha=1.0, mode=mode)
                for value in stream:
                    detector.update(value)
                    seen = seen or detector.drift_detected
            assert seen == alarms


def test_page_hinkley_threshold_keeps_its_alpha_also_in_the_tail() -> None:
    fresh = page_hinkley_maxima(250, 6000, seed=99)
    for alpha in (0.05, 0.002):
        share = (fresh > page_hinkley_threshold(250, alpha)).sum()
        assert share <= binom.ppf(0.9999, 6000, alpha)


def test_adwin_sees_a_new_level_and_says_where() -> None:
    rng = np.random.default_rng(0)
    reference, stream = rng.beta(2, 8, 400), np.concatenate([rng.beta(2, 8, 200), rng.beta(4, 6, 300)])
    found = _adwins(reference, stream, 500, 0.01)
    assert found
    assert 150 <= found[0].since <= 260
    assert found[0].direction == "up"
    assert found[0].statistic > found[0].threshold


def test_no_change_no_alarm_at_the_stated_rate() -> None:
    runs, alpha, alarms = 60, 0.2, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        values = (rng.random(400) < 0.03).astype(float) if seed % 2 else rng.beta(1, 8, 400)
        alarms += bool(detect(values[:100], values[100:], 300, alpha, seed))
    assert alarms <= binom.ppf(0.999, runs, alpha)


def test_rows_without_a_value_are_passed_over() -> None:
    rng = np.random.default_rng(0)
    stream = np.concatenate([rng.beta(1, 8, 100), rng.beta(8, 2, 60)])
    holes = np.full(2 * len(stream), np.nan)
    holes[::2] = stream
    found = detect(rng.beta(1, 8, 300), holes, len(holes), 0.01, 0)
    assert found
    assert all(one.row >= 200 and one.row % 2 == 0 for one in found)
    assert detect(rng.beta(1, 8, 300), np.full(50, np.nan), 50, 0.01, 0) == []
