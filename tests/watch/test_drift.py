"""The family-wise rate is what is stated, and what has changed is named."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from charter.watch.columns import Columns
from charter.watch.drift import Side, permutations_needed, window_drift


def side(rng: np.random.Generator, n: int, shifted: bool = False, width: int = 0) -> Side:
    scores = rng.beta(1, 8, n)
    vectors = rng.standard_normal((n, width)).astype(np.float32)
    if shifted:
        unusual = rng.random(n) < 0.2
        scores[unusual] = rng.beta(6, 2, int(unusual.sum()))
        if width:
            vectors[unusual, 0] += 5
    embedded = {"prompt": (np.ones(n, dtype=bool), vectors)} if width else {}
    columns = Columns(
        {"score": scores, "prompt length": rng.lognormal(3, 1, n)},
        {"stopped": (scores > 0.4).astype(float), "clause a": (rng.random(n) < 0.02).astype(float)},
        {"languages": np.eye(3)[rng.choice(3, n, p=[0.9, 0.07, 0.03])]},
        {"clause a": "a"},
    )
    return Side(columns, n, embedded)


@pytest.mark.parametrize(("n", "width", "runs"), [(40, 0, 150), (40, 8, 60)])
def test_any_alarm_at_the_stated_rate(n: int, width: int, runs: int) -> None:
    alpha = 0.2
    alarms = 0
    for seed in range(runs):
        rng = np.random.default_rng([n, width, seed])
        alarms += bool(window_drift(side(rng, 160, width=width), side(rng, n, width=width), alpha, seed))
    # Right to within what so many runs can show; a test that never alarms would be no proof either.
    assert alarms <= binom.ppf(0.999, runs, alpha)
    assert alarms >= binom.ppf(0.001, runs, alpha)


def test_what_changed_is_named_and_past_its_threshold() -> None:
    rng = np.random.default_rng(5)
    found = window_drift(side(rng, 400, width=8), side(rng, 200, shifted=True, width=8), 0.01, 0)
    named = {(one.measure.name, one.measure.of) for one in found}
    assert {("ks", "score"), ("rate_change", "stopped"), ("mmd", "prompt")} <= named
    assert all(one.statistic > one.threshold for one in found)
    assert all(one.measure.of not in ("languages", "clause a", "prompt length") for one in found)


def test_the_same_seed_gives_the_same_answer() -> None:
    made = [
        window_drift(side(np.random.default_rng(5), 200), side(np.random.default_rng(6), 100, shifted=True), 0.02, 3)
        for _ in range(2)
    ]
    assert made[0]
    assert made[0] == made[1]


def test_nothing_that_varies_is_no_drift() -> None:
    flat = Side(Columns({}, {"stopped": np.zeros(50)}, {}, {}), 50, {})
    assert window_drift(flat, flat, 0.05, 0) == []


def test_enough_permutations_for_the_alpha_asked() -> None:
    assert permutations_needed(0.05) == 39
    assert permutations_needed(0.001) == 1999
