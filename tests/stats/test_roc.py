"""The area under the ROC curve: by counting pairs, against Mann and Whitney, and the interval by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from charter.stats.roc import auc


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    scores = [0.9, 0.4, 0.4, 0.1]
    found = auc(scores, [True, True, False, False])
    assert found is not None
    assert found.value == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    drawn = np.random.default_rng(0)
    x, y = drawn.normal(1, 1, 40).round(1), drawn.normal(0, 1, 60).round(1)
    found = auc([*x, *y], [True] * 40 + [False] * 60)
    assert found is not None
    assert found.value == pytest.approx(mannwhitneyu(x, y).statistic / 2400)
    assert (found.positives, found.negatives) == (40, 60)


def test_one_kind_alone_has_no_area_and_a_perfect_one_is_not_certain() -> None:
    assert auc([0.1, 0.2], [True, True]) is None
    found = auc([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0.5
    with pytest.raises(ValueError, match="one label"):
        auc([0.1], [])


def test_the_interval_covers() -> None:
    drawn = np.random.default_rng(1)
    truth = float(norm.cdf(1.5 / np.sqrt(2)))
    covered = 0
    for _ in range(500):
        x, y = drawn.normal(1.5, 1, 50), drawn.normal(0, 1, 80)
        found = auc([*x, *y], [True] * 50 + [False] * 80)
        assert found is not None
        covered += found.low <= truth <= found.high
    assert covered / 500 >= 0.925
