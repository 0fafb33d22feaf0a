"""Rates that a judge measured, corrected for its measured errors: what people would have found, with both errors'
interval.

 The judge's errors are those on the rows it was calibrated on. Where suites differ much from these (other languages,
other models), so may the errors: a corrected rate is as good as the calibration behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.evaluation.compare import Comparison
from charter.evaluation.metrics import PASSING_LABELS
from charter.evaluation.summary import Summary, agreement_text
from charter.stats.imperfect import TrueRate, rogan_gladen


def corrected(metric: str, judge: str | None, rate: float | None, n: int) -> TrueRate | None:
    """The corrected rate of a judged metric; None where the metric, the judge or its calibration does not give one."""
    from charter.judges.calibration import judge_agreement

    passing = PASSING_LABELS.get(metric)
    if passing is None or judge is None or rate is None or not n:
        return None
    known = judge_agreement(judge)
    if known is None or not passing & set(known.labels):
        return None
    return rogan_gladen(round(rate * n), n, known.errors(passing))


def corrected_row(row: Comparison) -> dict[str, Any] | None:
    """{"base": {value, low, high}, "candidate": …} of a judged yes-or-no metric; None where there is none."""
    if row.kind != "binary":
        return None
    sides = {
        side: corrected(row.metric, row.judge, rate, row.n)
        for side, rate in (("base", row.base), ("candidate", row.candidate))
    }
    if all(found is None for found in sides.values()):
        return None
    return {side: None if found is None else _numbers(found) for side, found in sides.items()}


def corrected_summary(row: Summary) -> dict[str, Any] | None:
    """{value, low, high} of a judged yes-or-no metric; None where there is none."""
    found = corrected(row.metric, row.judge, row.value, row.n) if row.ci_low is not None else None
    return None if found is None else _numbers(found)


def judge_remarks(rows: Sequence[Comparison] | Sequence[Summary]) -> list[str]:
    """A line for each judge behind the rows, on its agreement with people, and one for each rate that this corrects."""
    remarks = [agreement_text(name) for name in sorted({row.judge for row in rows if row.judge})]
    for row in rows:
        if isinstance(row, Summary):
            found = corrected_summary(row)
            if found:
                remarks.append(f"{row.metric}, corrected for the judge's errors: {_words(found)}.")
        elif row.slice is None:
            both = corrected_row(row)
            if both:
                told = ", ".join(f"{side} {_words(found)}" for side, found in both.items() if found)
                remarks.append(f"{row.metric}, corrected for the judge's errors: {told}.")
    return remarks


def _numbers(found: TrueRate) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _words(found: dict[str, float]) -> str:
    return f"{100 * found['value']:.1f}% ({100 * found['low']:.1f} to {100 * found['high']:.1f})"
