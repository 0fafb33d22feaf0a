"""Over-optimisation curves against scipy's fits, their peaks against a search, best-of-n's KL against its policy."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit, minimize_scalar

from charter.stats.overoptimization import Curve, Form, best_of_n_kl, best_of_n_mean, fit

FORMS = {
    "best_of_n": lambda d, a, b: d * (a - b * d),
    "rl": lambda d, a, b: d * (a - b * np.log(d)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_fit_is_scipys(form: Form) -> None:
    drawn = np.random.default_rng(5)
    d = np.sqrt(np.array([0.05, 0.3, 1.0, 2.5, 6.0, 12.0, 30.0]))
    rewards = FORMS[form](d, 1.1, 0.21) + 0.1 * drawn.normal(size=len(d))
    got = fit(form, d.tolist(), rewards.tolist())
    assert got is not None
    (alpha, beta), _ = curve_fit(FORMS[form], d, rewards)
    assert (got.alpha, got.beta) == pytest.approx((alpha, beta), rel=1e-5)
    missed = ((rewards - FORMS[form](d, alpha, beta)) ** 2).sum()
    assert got.r2 == pytest.approx(1 - missed / ((rewards - rewards.mean()) ** 2).sum(), rel=1e-6)
    assert got.furthest == d[-1]
    assert [got.reward(x) for x in d] == pytest.approx(FORMS[form](d, alpha, beta).tolist(), rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
@given(st.floats(0.2, 3), st.floats(0.1, 1))
def test_a_curve_without_noise_is_found_again_with_its_peak(form: Form, alpha: float, beta: float) -> None:
    d = np.linspace(0.1, 8, 12)
    got = fit(form, [0.0, *d], [0.0, *FORMS[form](d, alpha, beta)])
    assert got is not None
    assert (got.alpha, got.beta, got.r2) == pytest.approx((alpha, beta, 1.0), rel=1e-6)
    assert got.peak is not None
    highest = minimize_scalar(lambda x: -FORMS[form](x, alpha, beta), bounds=(got.peak / 3, got.peak * 3))
    assert got.peak == pytest.approx(highest.x, rel=1e-2)
    assert got.peak_reward == pytest.approx(-highest.fun, rel=1e-4)


def test_a_reward_that_only_rises_or_only_falls_has_no_peak() -> None:
    d = [0.5, 1.0, 2.0, 4.0]
    for form, rewards in (("best_of_n", [x + x * x for x in d]), ("best_of_n", [-x - x * x for x in d])):
        got = fit(form, d, rewards)  # type: ignore[arg-type]
        assert got is not None
        assert got.peak is None
        assert got.peak_reward is None
    rising = fit("rl", d, [x * (1 + 0.1 * math.log(x)) for x in d])
    assert rising is not None
    assert rising.peak is None
    straight = Curve("rl", 1.0, 1e-9, None, None, 4.0)
    assert straight.reward(2.0) == pytest.approx(2.0)


def test_too_little_to_fit_and_what_cannot_be_fitted() -> None:
    assert fit("rl", [0.0, 0.0, 1.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0, 1.1]) is None
    flat = fit("best_of_n", [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    assert flat is not None
    assert flat.r2 is None
    for distances, rewards in (([1.0, -1.0, 2.0], [0.0] * 3), ([1.0, float("nan"), 2.0], [0.0] * 3)):
        with pytest.raises(ValueError, match="leave out what was not measured"):
            fit("rl", distances, rewards)
    with pytest.raises(ValueError, match="2 distances were given for 1"):
        fit("rl", [1.0, 2.0], [0.0])


@pytest.mark.parametrize("n", [1, 2, 4, 16, 64])
def test_best_of_ns_kl_is_that_of_its_policy(n: int) -> None:
    """Of M outcomes of equal chance and different rewards, best of n takes the i-th with (i/M)^n - ((i-1)/M)^n."""

    def exact(outcomes: int) -> float:
        steps = np.linspace(0, 1, outcomes + 1) ** n
        chance = np.diff(steps)
        chance = chance[chance > 0]
        return float((chance * np.log(chance * outcomes)).sum())

    assert best_of_n_kl(n) == pytest.approx(exact(200_000), abs=1e-4)
    # With few outcomes samples tie, and the formula is a bound.
    assert exact(5) <= best_of_n_kl(n) + 1e-12


def test_best_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        best_of_n_kl(0)


@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_the_best_of_n_is_the_mean_over_all_sets_of_n(n: int) -> None:
    by, of = [0.3, -1.0, 2.0, 0.7, 5.0, 0.1], [1.0, 4.0, -2.0, 0.5, 3.0, 7.0]
    sets = [max(one, key=lambda i: by[i]) for one in itertools.combinations(range(6), n)]
    assert best_of_n_mean(by, of, n) == pytest.approx(statistics.fmean(of[i] for i in sets))


def test_the_best_of_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="best of 3"):
        best_of_n_mean([1.0, 2.0], [1.0, 2.0], 3)
