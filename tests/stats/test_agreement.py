"""Cohen's kappa against statsmodels' implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from charter.stats.agreement import cohen_kappa, confusion


@given(
    st.integers(2, 4).flatmap(
        lambda k: st.lists(st.lists(st.integers(1, 60), min_size=k, max_size=k), min_size=k, max_size=k)
    )
)
def test_kappa_and_interval_equal_statsmodels(table: list[list[int]]) -> None:
    ours, theirs = cohen_kappa(table), cohens_kappa(table)
    assert ours.value == pytest.approx(theirs.kappa, abs=1e-9)
    assert ours.low == pytest.approx(max(-1.0, theirs.kappa_low), abs=1e-9)
    assert ours.high == pytest.approx(min(1.0, theirs.kappa_upp), abs=1e-9)


def test_edges() -> None:
    assert cohen_kappa([[5, 0], [0, 5]]).value == 1.0
    assert cohen_kappa([[7, 0], [0, 0]]).value != cohen_kappa([[7, 0], [0, 0]]).value  # nan: one single label
    for bad in ([[0, 0], [0, 0]], [[1, 2]], []):
        with pytest.raises(ValueError, match="kappa needs"):
            cohen_kappa(bad)


def test_confusion() -> None:
    assert confusion(["a", "b", "a"], ["a", "a", "b"], ["a", "b"]) == [[1, 1], [1, 0]]
    with pytest.raises(ValueError, match="same rows"):
        confusion(["a"], [], ["a"])
    with pytest.raises(ValueError, match="not among"):
        confusion(["a"], ["c"], ["a", "b"])
