"""Where a gated metric is weakest: its slices, and an alarm where one of them is shown to have fallen.

An alarm does not turn the verdict. The gate's promise (an unchanged model is stopped at most 5% of the time) is made
for the metrics named beforehand; slices are many, and say where to look. Their p-values are Holm-adjusted over all
slices of all gated metrics together, so that alarms are rarely false too. A slice under DESCRIPTIVE_BELOW raises none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from charter.evaluation.compare import Comparison
from charter.evaluation.gate import GateResult
from charter.stats.multiplicity import holm


@dataclass(frozen=True, slots=True)
class SliceFinding:
    """A slice worth naming: the weakest of its metric (the largest change for the worse), or one with an alarm."""

    suite: str
    metric: str
    slice: str
    n: int
    base: float
    candidate: float
    delta: float
    adjusted_p: float | None
    weakest: bool
    alarm: bool
    descriptive: bool
    kind: str

    def as_row(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def sentence(self) -> str:
        """'knowledge: weakest in slice "history" (−12.0 points, n 120): a fall is shown.'"""
        change = f"{self.delta:+.4g}" if self.kind == "score" else f"{100 * self.delta:+.1f} points"
        what = "weakest in" if self.weakest else "fell in"
        if self.alarm:
            note = f"alarm, a change for the worse is shown (adjusted p {self.adjusted_p:.3g})"
        elif self.descriptive:
            note = "too few samples to conclude from, descriptive"
        else:
            note = "within chance"
        return f'{self.metric}: {what} slice "{self.slice}" ({change}, n {self.n}): {note}'


def slice_findings(rows: Sequence[Comparison], result: GateResult, alpha: float = 0.05) -> list[SliceFinding]:
    """For every gated metric that has slices, its weakest one first, then the others that raise an alarm.

    Slices that are not descriptive are preferred as the weakest; where there is none, a descriptive one is named so.
    """
    gated = [decision.comparison for decision in result.decisions if decision.comparison is not None]
    measured = [
        (whole, row)
        for whole in gated
        for row in rows
        if row.slice is not None
        and (row.suite, row.metric) == (whole.suite, whole.metric)
        and row.improvement() is not None
    ]
    tested = [row for _, row in measured if not row.descriptive and row.p is not None]
    adjusted = {id(row): p for row, p in zip(tested, holm([row.p or 0.0 for row in tested]), strict=True)}
    findings = []
    for whole in gated:
        slices = sorted(
            (row for owner, row in measured if owner is whole), key=lambda row: (row.descriptive, _gain(row))
        )
        for place, row in enumerate(slices):
            p = adjusted.get(id(row))
            alarm = p is not None and p <= alpha and _gain(row) < 0
            if place == 0 or alarm:
                findings.append(_finding(row, p, weakest=place == 0, alarm=alarm))
    return findings


def _gain(row: Comparison) -> float:
    better = row.improvement()
    return better[0] if better is not None else 0.0


def _finding(row: Comparison, p: float | None, weakest: bool, alarm: bool) -> SliceFinding:
    return SliceFinding(
        suite=row.suite,
        metric=row.metric,
        slice=row.slice or "",
        n=row.n,
        base=row.base or 0.0,
        candidate=row.candidate or 0.0,
        delta=row.delta or 0.0,
        adjusted_p=p,
        weakest=weakest,
        alarm=alarm,
        descriptive=row.descriptive,
        kind=row.kind,
    )
