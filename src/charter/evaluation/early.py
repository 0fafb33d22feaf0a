"""Stopping a regression check where its verdict is certain already: looks at growing samples, by a sequential test.

The looks may err half as often as the test at the full size does, together with it at most 1.5 times as often
(`charter.stats.sequential`). A look decides only what it is certain of; all other metrics stay inconclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from charter.evaluation.compare import Comparison
from charter.evaluation.gate import Decision, Gate, GateResult, find_row
from charter.evaluation.regression import Regression
from charter.evaluation.suites.samples import load_suite
from charter.stats.sequential import early, looks


def look_sizes(suites: Sequence[str], limit: int | None) -> list[int]:
    """Samples a suite at each look; the last is all of the largest suite."""
    largest = max(len(load_suite(suite)) for suite in suites)
    return looks(min(limit or largest, largest))


def check_early(checked: Callable[[int | None], Regression], sizes: Sequence[int], limit: int | None) -> Regression:
    """The first check with a certain verdict, or the one at the full size. `checked` runs both sides with a limit."""
    for size in sizes[:-1]:
        found = checked(size)
        result = early_result(found.gate, found.rows)
        if result is not None:
            note = (
                f"stopped early after {size} of up to {sizes[-1]} samples a suite: the sequential test is certain of "
                f"this verdict. With such looks an unchanged model is called regressed in at most "
                f"{1.5 * found.gate.alpha / 2:.2%} of checks, in place of {found.gate.alpha / 2:.2%}"
            )
            return replace(found, result=result, notes=(*found.notes, note), slices=())
    found = checked(limit)
    note = (
        f"looked {len(sizes) - 1} times before the end, found nothing certain, and decided at the full size; an "
        f"unchanged model is called regressed in at most {1.5 * found.gate.alpha / 2:.2%} of such checks"
    )
    return replace(found, notes=(*found.notes, note)) if len(sizes) > 1 else found


def early_result(gate: Gate, comparisons: Sequence[Comparison]) -> GateResult | None:
    """The gate's verdict where it is certain: a fall of any metric is shown, or all are shown to have kept theirs.

    Yes-or-no metrics with a margin alone can be certain early; a wanted gain is decided at the full size.
    """
    decisions = tuple(_decision(gate, metric, comparisons) for metric in gate.metrics)
    fallen = [one for one in decisions if one.verdict == "regressed"]
    if fallen:
        return GateResult("regressed", decisions, "; ".join(f"{one.metric}: {one.reason}" for one in fallen))
    if decisions and all(one.verdict == "pass" for one in decisions):
        return GateResult("pass", decisions, f"all {len(decisions)} gated metrics passed")
    return None


def _decision(gate: Gate, metric: str, comparisons: Sequence[Comparison]) -> Decision:
    row, rule = find_row(metric, comparisons), gate.metrics[metric]
    open_ = Decision(metric, "inconclusive", "not decided when the check was stopped", row)
    if row is None or row.kind != "binary" or row.gained is None or row.lost is None or rule.margin is None:
        return open_
    gained, lost = (row.gained, row.lost) if row.higher_is_better else (row.lost, row.gained)
    word = early(gained, lost, row.n, rule.margin, gate.alpha, len(gate.metrics))
    if word == "fallen":
        return replace(open_, verdict="regressed", reason=f"{lost} samples lost, {gained} gained of {row.n}")
    if word == "kept" and rule.min_gain is None and gate.doubt(row) is None:
        reason = f"a fall of {100 * rule.margin:g} points is excluded ({lost} samples lost, {gained} gained of {row.n})"
        return replace(open_, verdict="pass", reason=reason)
    return open_
