"""McNemar against statsmodels and brute force; resampling against scipy and full enumeration; Holm by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from charter.stats.multiplicity import holm
from charter.stats.paired import mcnemar_exact, mcnemar_midp, paired_bootstrap, sign_flip


@given(st.integers(0, 40), st.integers(0, 40))
def test_exact_mcnemar_equals_statsmodels(gained: int, lost: int) -> None:
    theirs = mcnemar([[10, gained], [lost, 10]], exact=True).pvalue
    assert mcnemar_exact(gained, lost) == pytest.approx(min(1.0, theirs), abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0, 6), (2, 7), (4, 4), (5, 1), (0, 0)])
def test_midp_by_enumerating_coin_flips(gained: int, lost: int) -> None:
    n = gained + lost
    counts = [sum(flips) for flips in itertools.product((0, 1), repeat=n)]
    k = min(gained, lost)
    if gained == lost:
        expected = 1.0 - (counts.count(k) / 2**n if n else 0.0)
    else:
        expected = 2 * sum(c < k for c in counts) / 2**n + counts.count(k) / 2**n
    assert mcnemar_midp(gained, lost) == pytest.approx(expected, abs=1e-12)


def test_midp_published_example() -> None:
    # Fagerland, Lydersen, Laake 2013, table 1 (airway hyper-responsiveness: 1 and 7 discordant of 21).
    assert mcnemar_exact(1, 7) == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar_midp(1, 7) == pytest.approx(0.0391, abs=5e-5)


def test_bootstrap_agrees_with_scipys() -> None:
    rng = np.random.default_rng(3)
    values = rng.exponential(size=150) - 0.8
    ours = paired_bootstrap(list(values), seed=1)
    theirs = bootstrap((values,), np.mean, n_resamples=10_000, method="BCa", rng=2).confidence_interval
    # Two Monte Carlo quantiles of 10,000 draws: each has a standard error of about 0.03 of the mean's.
    assert ours == pytest.approx(tuple(theirs), abs=0.15 * values.std() / math.sqrt(150))


def test_bootstrap_is_reproducible_and_seeded() -> None:
    values = [0.1, -0.4, 0.7, 0.2, 0.0, 0.3]
    assert paired_bootstrap(values, seed=5) == paired_bootstrap(values, seed=5)
    assert paired_bootstrap(values, seed=5) != paired_bootstrap(values, seed=6)


def test_bootstrap_edges() -> None:
    assert paired_bootstrap([0.25] * 9) == (0.25, 0.25)
    assert paired_bootstrap([0.3]) == (-math.inf, math.inf)
    assert paired_bootstrap([]) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="finite"):
        paired_bootstrap([0.1, math.nan])


@pytest.mark.parametrize("values", [[0.5, 0.2, -0.1, 0.9], [1.0, 1.0, -1.0, 0.0, 1.0, 1.0], [0.0, 0.0]])
def test_sign_flip_by_enumeration(values: list[float]) -> None:
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    expected = sum(s >= abs(sum(values)) - 1e-9 for s in sums) / len(sums)
    assert sign_flip(values) == pytest.approx(expected)


def test_sign_flip_of_verdicts_is_mcnemar() -> None:
    # On differences of -1, 0, 1 the sign-flip test is the exact McNemar test; 20,000 flips give a s.e. of 0.0016.
    values = [1.0] * 9 + [-1.0] * 20 + [0.0] * 50
    assert sign_flip(values, resamples=20_000) == pytest.approx(mcnemar_exact(9, 20), abs=0.008)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]), abs=1e-12)


def test_holm_edges() -> None:
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([0.2, 1.2])
