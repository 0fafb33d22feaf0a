"""One side's numbers: a rate with its interval per metric, and what the judge behind it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from charter.evaluation.results import Outcome
from charter.stats.intervals import wilson


@dataclass(frozen=True, slots=True)
class Summary:
    """A metric on the whole suite: mean over scored samples, with Wilson's interval where all values are 0 or 1.

    n: scored samples; unscored: the others. `value` is None when nothing was scored.
    """

    suite: str
    metric: str
    n: int
    value: float | None
    ci_low: float | None
    ci_high: float | None
    unscored: int
    judge: str | None = None

    def as_row(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def summarise(outcomes: Sequence[Outcome]) -> list[Summary]:
    """One row per suite and metric, in order of appearance."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.suite, outcome.metric), []).append(outcome)
    rows = []
    for (suite, metric), group in groups.items():
        values = [outcome.value for outcome in group if outcome.value is not None]
        low: float | None = None
        high: float | None = None
        if values and all(value in (0.0, 1.0) for value in values) and all(o.epoch == 1 for o in group):
            low, high = wilson(round(sum(values)), len(values))
        judge = next((outcome.judge for outcome in group if outcome.judge), None)
        mean = sum(values) / len(values) if values else None
        rows.append(Summary(suite, metric, len(values), mean, low, high, len(group) - len(values), judge))
    return rows


def agreement_text(judge: str) -> str:
    """What is known of a judge's agreement with people, in one line; says so when nothing is."""
    from charter.judges.calibration import judge_agreement

    found = judge_agreement(judge)
    if found is None or found.accuracy is None:
        return f"Judge {judge}: agreement with people not measured."
    text = f"Judge {judge}: agrees with people on {_interval(found.accuracy, found.accuracy_low, found.accuracy_high)}"
    if found.kappa is not None and found.kappa_low is not None and found.kappa_high is not None:
        text += f", κ {found.kappa:.2f} ({found.kappa_low:.2f} to {found.kappa_high:.2f})"
    if found.auc is not None:
        text += f", AUC {found.auc.value:.2f} ({found.auc.low:.2f} to {found.auc.high:.2f})"
    return f"{text}, n {found.n}{f', measured on {found.measured_on}' if found.measured_on else ''}."


def _interval(value: float, low: float | None, high: float | None) -> str:
    inside = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * value:.1f}%{inside}"
