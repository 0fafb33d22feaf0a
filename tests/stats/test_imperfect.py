"""Rates behind an imperfect judge: by hand, at the limits, and by simulation that the interval covers."""

from __future__ import annotations

import numpy as np
import pytest

from charter.stats.imperfect import Errors, rogan_gladen


def test_by_hand() -> None:
    # Sensitivity 0.9, specificity 0.8, apparent 0.48: (0.48 + 0.8 - 1) / (0.9 + 0.8 - 1) = 0.28 / 0.7 = 0.4.
    found = rogan_gladen(48, 100, Errors(90, 100, 80, 100))
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.low < 0.4 < found.high


def test_a_perfect_judge_changes_nothing_much() -> None:
    from charter.stats.intervals import wilson

    found = rogan_gladen(300, 1000, Errors(100_000, 100_000, 100_000, 100_000))
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx(wilson(300, 1000), abs=2e-3)


def test_fewer_labelled_rows_widen_the_interval_and_the_estimate_stays() -> None:
    few, many = (rogan_gladen(48, 100, Errors(9 * k, 10 * k, 8 * k, 10 * k)) for k in (4, 100))
    assert few is not None
    assert many is not None
    assert few.value == pytest.approx(many.value)
    assert few.high - few.low > 1.2 * (many.high - many.low)


def test_what_cannot_be_said_is_none() -> None:
    assert rogan_gladen(0, 0, Errors(9, 10, 9, 10)) is None
    assert rogan_gladen(5, 10, Errors(0, 0, 9, 10)) is None
    assert rogan_gladen(5, 10, Errors(50, 100, 52, 100)) is None  # a coin
    assert rogan_gladen(5, 10, Errors(2, 10, 2, 10)) is None  # worse than a coin
    with pytest.raises(ValueError, match="impossible"):
        rogan_gladen(11, 10, Errors(9, 10, 9, 10))
    with pytest.raises(ValueError, match="impossible"):
        Errors(11, 10, 9, 10)


@pytest.mark.parametrize(
    ("rate", "sensitivity", "specificity", "n", "labelled"),
    [(0.1, 0.9, 0.9, 200, 150), (0.5, 0.8, 0.95, 300, 100), (0.9, 0.75, 0.85, 500, 300), (0.02, 0.9, 0.98, 500, 400)],
)
def test_the_interval_covers(rate: float, sensitivity: float, specificity: float, n: int, labelled: int) -> None:
    drawn = np.random.default_rng(7)
    covered = naive = 0
    runs = 2000
    for _ in range(runs):
        true = drawn.binomial(n, rate)
        said = drawn.binomial(true, sensitivity) + drawn.binomial(n - true, 1 - specificity)
        errors = Errors(
            drawn.binomial(labelled, sensitivity), labelled, drawn.binomial(labelled, specificity), labelled
        )
        found = rogan_gladen(int(said), n, errors)
        assert found is not None
        covered += found.low <= rate <= found.high
        naive += abs(said / n - rate) <= 1.96 * np.sqrt(said / n * (1 - said / n) / n)
    # 2000 runs: a true 95% shows as 94.0% or more in all but 2.5% of tests; the method is said to be near 95%.
    assert covered / runs >= 0.935
    assert naive < covered
