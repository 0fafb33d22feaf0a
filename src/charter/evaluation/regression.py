"""The whole of a regression check as one value: comparisons, verdict, weak slices, remarks and what flipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from charter.evaluation.compare import Comparison, compare, flipped
from charter.evaluation.gate import CORE_METRICS, Gate, GateResult, adjusted_gate
from charter.evaluation.logs import differences
from charter.evaluation.pairing import aligned
from charter.evaluation.results import Outcome
from charter.evaluation.sides import Side
from charter.evaluation.slices import SliceFinding, slice_findings
from charter.evaluation.verdicts import result_rows


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user asks of the check. margins, gains: by metric or suite/metric, over the defaults of the gate.

    only: gate exactly these metrics. lower_is_better: metrics of which less is better. pair_by: see `compare`.
    """

    margins: Mapping[str, float] = field(default_factory=dict)
    gains: Mapping[str, float] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    lower_is_better: tuple[str, ...] = ()
    pair_by: Literal["auto", "id"] = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Flip:
    """One sample whose value changed, in one epoch and metric."""

    base: Outcome
    candidate: Outcome
    worsened: bool


@dataclass(frozen=True, slots=True)
class Regression:
    """Everything that a reader of the check may want; `result` decides, the rest explains."""

    base: str
    candidate: str
    rows: tuple[Comparison, ...]
    gate: Gate
    result: GateResult
    slices: tuple[SliceFinding, ...]
    notes: tuple[str, ...]
    flips: tuple[Flip, ...]

    def as_json(self) -> dict[str, Any]:
        """{"base", "candidate", "verdict", "reason", "metrics", "slices", "notes"}; metrics as in report.json."""
        return {
            "base": self.base,
            "candidate": self.candidate,
            **result_rows(self.rows, self.result),
            "slices": [finding.as_row() for finding in self.slices],
            "notes": list(self.notes),
        }


def check(base: Side, candidate: Side, rules: Rules) -> Regression:
    """Compare two sides and gate. Raises UserError as `compare` and `adjusted_gate` do."""
    after, notes = aligned(base.outcomes, candidate.outcomes) if rules.pair_by == "auto" else (candidate.outcomes, [])
    rows = compare(base.outcomes, after, rules.seed, lower_is_better=rules.lower_is_better, pair_by="id")
    gate = adjusted_gate(rows, rules.margins, rules.gains, rules.only)
    result = gate.decide(rows)
    lower = {(row.suite, row.metric) for row in rows if not row.higher_is_better}
    flips = [Flip(b, c, _worse(b, c, (b.suite, b.metric) in lower)) for b, c in flipped(base.outcomes, after)]
    return Regression(
        base=base.name,
        candidate=candidate.name,
        rows=tuple(rows),
        gate=gate,
        result=result,
        slices=tuple(slice_findings(rows, result, gate.alpha)),
        notes=(*notes, *_scope(rows, result), *differences(base.logs, candidate.logs)),
        flips=tuple(sorted(flips, key=lambda flip: not flip.worsened)),
    )


def _worse(base: Outcome, candidate: Outcome, lower_is_better: bool) -> bool:
    assert base.value is not None
    assert candidate.value is not None
    return (candidate.value < base.value) != lower_is_better


def _scope(rows: list[Comparison], result: GateResult) -> list[str]:
    """What the gate leaves out or takes for granted of metrics that are not ours."""
    foreign = [row for row in rows if row.slice is None and row.metric not in CORE_METRICS]
    if len(foreign) < sum(row.slice is None for row in rows):
        return []  # our own metrics are there: what is gated is written down
    reasons = {"score": "its values are not all in [0, 1]; give it a margin"}
    found = [
        f"{row.metric}: not gated, {reasons.get(row.kind, 'name it with --gate if it counts')}"
        for row in foreign
        if result.verdict_of(row) is None
    ]
    upward = [row.metric for row in foreign if result.verdict_of(row) is not None and row.higher_is_better]
    if upward:
        found.append(f"more is taken for better in {', '.join(upward)}; say --lower-is-better where it is not")
    return found
