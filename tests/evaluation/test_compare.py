"""Comparison: numbers by hand, pairing, and every kind of bad input with a clear outcome."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from charter.errors import UserError
from charter.evaluation.compare import Comparison, compare, flipped
from charter.evaluation.results import Outcome
from charter.stats.intervals import tango_paired
from charter.stats.paired import mcnemar_exact


def outcomes(values: list[float | None], metric: str = "m", **more: object) -> list[Outcome]:
    """One outcome per value: ids s0, s1, …; None is unscored."""
    return [
        Outcome("suite", metric, f"s{i}", 1, value, unscored=None if value is not None else "judge timed out", **more)  # type: ignore[arg-type]
        for i, value in enumerate(values)
    ]


def whole(rows: list[Comparison]) -> Comparison:
    return next(row for row in rows if row.slice is None)


def test_binary_numbers_by_hand() -> None:
    base = outcomes([1.0] * 60 + [0.0] * 40)
    candidate = outcomes([1.0] * 45 + [0.0] * 15 + [1.0] * 5 + [0.0] * 35)
    row = whole(compare(base, candidate))
    assert (row.n, row.gained, row.lost) == (100, 5, 15)
    assert (row.base, row.candidate, row.delta) == (0.6, 0.5, pytest.approx(-0.1))
    assert row.p == mcnemar_exact(5, 15) == pytest.approx(0.0414, abs=1e-4)
    assert (row.ci_low, row.ci_high) == tango_paired(5, 15, 100)
    assert row.detectable is not None
    assert 0.1 < row.detectable < 0.2


def test_order_of_samples_does_not_matter() -> None:
    base, candidate = outcomes([1.0, 0.0, 0.0, 1.0] * 10), outcomes([1.0, 1.0, 0.0, 0.0] * 10)
    assert compare(base, candidate) == compare(base, list(reversed(candidate)))


def test_scores_use_the_bootstrap_and_detect_a_shift() -> None:
    base = outcomes([i / 40 for i in range(40)])
    candidate = outcomes([i / 40 + (0.1 if i % 2 else 0.06) for i in range(40)])
    row = whole(compare(base, candidate))
    assert row.gained is None
    assert row.delta == pytest.approx(0.08)
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert 0.06 < row.ci_low < 0.08 < row.ci_high < 0.1
    assert row.p is not None
    assert row.p < 0.001
    assert row == whole(compare(base, candidate))


def test_epochs_are_clusters_not_samples() -> None:
    base = [Outcome("s", "m", f"x{i}", epoch, float(i % 2)) for i in range(20) for epoch in (1, 2, 3)]
    candidate = [replace(o, value=1.0 if o.epoch < 3 else o.value) for o in base]
    row = whole(compare(base, candidate))
    assert row.n == 20
    assert row.delta == pytest.approx(1 / 3)
    assert row.gained is None


def test_unscored_pairs_are_counted_and_left_out() -> None:
    row = whole(compare(outcomes([1.0, None, 0.0, 1.0]), outcomes([1.0, 1.0, None, 0.0])))
    assert (row.n, row.unscored, row.base, row.candidate) == (2, 2, 1.0, 0.5)


def test_nothing_scored_has_no_numbers_and_a_reason() -> None:
    row = whole(compare(outcomes([None, None]), outcomes([1.0, 0.0])))
    assert (row.n, row.unscored, row.delta, row.p) == (0, 2, None, None)
    assert row.problem is not None
    assert "judge timed out" in row.problem


def test_different_samples_are_reported() -> None:
    row = whole(compare(outcomes([1.0, 0.0, 1.0]), outcomes([1.0, 0.0])))
    assert (row.n, row.base_only, row.candidate_only, row.complete) == (2, 1, 0, False)
    strangers = [replace(o, sample_id=f"t{o.sample_id}") for o in outcomes([1.0, 0.0])]
    apart = whole(compare(outcomes([1.0, 0.0]), strangers))
    assert apart.problem == "the two sides have no sample in common"


def test_a_metric_of_one_side_is_kept() -> None:
    rows = compare(outcomes([1.0]) + outcomes([1.0], "other"), outcomes([0.0]))
    missing = next(row for row in rows if row.metric == "other")
    assert (missing.n, missing.problem) == (0, "only the base was measured")


def test_empty_sides_and_no_shared_metric_are_errors() -> None:
    with pytest.raises(UserError, match="base side has no outcomes"):
        compare([], outcomes([1.0]))
    with pytest.raises(UserError, match="candidate side has no outcomes"):
        compare(outcomes([1.0]), [])
    with pytest.raises(UserError, match="share no metric"):
        compare(outcomes([1.0], "a"), outcomes([1.0], "b"))
    with pytest.raises(UserError, match="twice"):
        compare(outcomes([1.0]) * 2, outcomes([1.0]))


def test_slices_and_small_ones_are_descriptive() -> None:
    def side(values: list[float]) -> list[Outcome]:
        return [
            replace(o, slice="big" if i < 120 else "small", seen=i % 2 == 0) for i, o in enumerate(outcomes(values))
        ]

    rows = compare(side([1.0] * 150), side([1.0] * 120 + [0.0] * 30))
    named = {row.slice: row for row in rows}
    assert set(named) == {None, "big", "small", "categories trained on", "categories not trained on"}
    assert (named["big"].n, named["big"].descriptive, named["big"].delta) == (120, False, 0.0)
    assert (named["small"].n, named["small"].descriptive, named["small"].delta) == (30, True, -1.0)
    assert named["categories not trained on"].n == 75


def test_rows_are_json_with_nulls_for_what_is_not_finite() -> None:
    row = whole(compare(outcomes([0.3]), outcomes([0.9])))
    written = json.loads(json.dumps(row.as_row(), allow_nan=False))
    assert written["name"] == "m"
    assert written["ci_low"] is None
    assert written["delta"] == pytest.approx(0.6)


def test_flipped_puts_losses_first() -> None:
    pairs = flipped(outcomes([0.0, 1.0, 1.0, None]), outcomes([1.0, 0.0, 1.0, 1.0]))
    assert [base.sample_id for base, _ in pairs] == ["s1", "s0"]
