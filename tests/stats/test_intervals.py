"""Intervals against scipy, statsmodels, published examples, a numerical optimiser and exact coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, multinomial
from statsmodels.stats.proportion import confint_proportions_2indep

from charter.stats.intervals import clopper_pearson, newcombe_unpaired, tango_paired, tango_z, wilson

COUNTS = [(0, 1), (1, 1), (0, 30), (30, 30), (3, 17), (61, 120), (399, 400)]


@pytest.mark.parametrize(("k", "n"), COUNTS)
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_single_rate_intervals_equal_scipy(k: int, n: int, level: float) -> None:
    test = binomtest(k, n)
    assert wilson(k, n, level) == pytest.approx(tuple(test.proportion_ci(level, "wilson")), abs=1e-12)
    assert clopper_pearson(k, n, level) == pytest.approx(tuple(test.proportion_ci(level, "exact")), abs=1e-12)


def test_nothing_measured_is_nothing_known() -> None:
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)
    assert newcombe_unpaired(0, 0, 3, 4) == tango_paired(0, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="impossible"):
            interval(k, n)


@pytest.mark.parametrize("counts", [(56, 70, 48, 80), (9, 10, 3, 10), (5, 56, 0, 29), (10, 10, 0, 10)])
def test_unpaired_difference_equals_statsmodels(counts: tuple[int, int, int, int]) -> None:
    base, base_n, candidate, candidate_n = counts
    theirs = confint_proportions_2indep(candidate, candidate_n, base, base_n, method="newcomb", compare="diff")
    assert newcombe_unpaired(*counts) == pytest.approx(theirs, abs=1e-12)


def test_unpaired_difference_equals_newcombes_table() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10, example (a): 56/70 - 48/80.
    assert newcombe_unpaired(48, 80, 56, 70) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_tango_equals_his_worked_example() -> None:
    # Tango 1998, Statistics in Medicine 17:891, contact lenses: 44 pairs, one discordant. The one-sided test of
    # non-inferiority at a margin of 0.1 gives Z = 1.709.
    assert tango_z(0, 1, 44, -0.1) == pytest.approx(1.709, abs=5e-4)


def _profile_z(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's statistic with the nuisance rate found by a numerical optimiser instead of the closed form."""
    both = n - gained - lost

    def negative(q: float) -> float:
        rates = [(gained, q + delta), (lost, q), (both, 1 - 2 * q - delta)]
        return -sum(count * math.log(max(rate, 1e-300)) for count, rate in rates if count)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = float(minimize_scalar(negative, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x)
    return (gained - lost - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 60), st.floats(-0.6, 0.6))
def test_tango_statistic_maximises_the_likelihood(gained: int, lost: int, both: int, delta: float) -> None:
    n = gained + lost + both
    assert tango_z(gained, lost, n, delta) == pytest.approx(_profile_z(gained, lost, n, delta), abs=2e-3, rel=2e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 200))
def test_tango_is_an_inverted_test_and_mirrors(gained: int, lost: int, both: int) -> None:
    n = gained + lost + both
    if n == 0:
        return
    low, high = tango_paired(gained, lost, n)
    estimate = (gained - lost) / n
    assert -1 <= low <= estimate <= high <= 1
    mirrored = tango_paired(lost, gained, n)
    assert (low, high) == pytest.approx((-mirrored[1], -mirrored[0]), abs=1e-9)
    for bound in (low, high):
        if abs(bound) < 0.999:
            assert abs(tango_z(gained, lost, n, bound)) == pytest.approx(1.959964, abs=1e-3)


@pytest.mark.parametrize(("n", "delta", "discordance"), [(120, 0.0, 0.1), (120, -0.1, 0.2), (400, 0.0, 0.02)])
def test_tango_covers_by_enumeration(n: int, delta: float, discordance: float) -> None:
    """Exact coverage over every possible table is near the nominal 95% (Tango reports 0.94 to 0.97)."""
    gained_p, lost_p = (discordance + delta) / 2, (discordance - delta) / 2
    covered = total = 0.0
    for gained in range(0, 45):
        for lost in range(0, 45):
            weight = float(multinomial.pmf([gained, lost, n - gained - lost], n, [gained_p, lost_p, 1 - discordance]))
            if weight < 1e-9:
                continue
            low, high = tango_paired(gained, lost, n)
            total += weight
            covered += weight * (low <= delta <= high)
    assert total > 0.999
    assert 0.935 <= covered / total <= 0.985


def test_tango_covers_in_simulation() -> None:
    rng = np.random.default_rng(7)
    n, gained_p, lost_p = 400, 0.06, 0.12
    draws = rng.multinomial(n, [gained_p, lost_p, 1 - gained_p - lost_p], size=2000)
    hits = 0
    for gained, lost, _ in draws:
        low, high = tango_paired(int(gained), int(lost), n)
        hits += low <= gained_p - lost_p <= high
    assert abs(hits / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)
