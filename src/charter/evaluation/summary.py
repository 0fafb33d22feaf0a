"""One side's numbers: a rate with its interval per metric, and what the judge behind it is worth."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from charter.evaluation.results import Outcome
from charter.stats.intervals import wilson, z_of
from charter.stats.probabilities import calibration_bins, expected_calibration_error

MIN_FOR_EFFECT: Final = 8
"""Pairs below which an effect size says nothing."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A metric on the whole suite: mean over scored samples, with Wilson's interval where all values are 0 or 1.

    n: scored samples; unscored: the others. `value` is None when nothing was scored.
    rate: whether the value is a share in [0, 1], to be shown in percent.
    """

    suite: str
    metric: str
    n: int
    value: float | None
    ci_low: float | None
    ci_high: float | None
    unscored: int
    judge: str | None = None
    rate: bool = True

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
        rate = all(0.0 <= value <= 1.0 for value in values)
        rows.append(Summary(suite, metric, len(values), mean, low, high, len(group) - len(values), judge, rate))
    return rows + [row for suite in dict.fromkeys(o.suite for o in outcomes) for row in _of_whole_set(suite, outcomes)]


def _of_whole_set(suite: str, outcomes: Sequence[Outcome]) -> list[Summary]:
    """Measures that no single sample has: calibration error, effect sizes by what was swapped."""
    mine = [outcome for outcome in outcomes if outcome.suite == suite and outcome.value is not None]
    rows = []
    hits = {(o.sample_id, o.epoch): o.value == 1.0 for o in mine if o.metric == "knows_what_it_knows"}
    stated = {(o.sample_id, o.epoch): o.value or 0.0 for o in mine if o.metric == "confidence"}
    both = sorted(hits.keys() & stated.keys())
    if both:
        found = calibration_interval([stated[key] for key in both], [hits[key] for key in both])
        rows.append(Summary(suite, "expected_calibration_error", len(both), *found, 0))
    gaps: dict[str, list[float]] = {}
    for outcome in mine:
        if outcome.metric == "yes_gap" and outcome.slice is not None:
            gaps.setdefault(outcome.slice.partition("_")[2] or outcome.slice, []).append(outcome.value or 0.0)
    for swapped, values in gaps.items():
        if len(values) >= MIN_FOR_EFFECT:
            rows.append(Summary(suite, f"effect_size_{swapped}", len(values), *effect_size(values), 0, rate=False))
    return rows


def calibration_interval(
    stated: Sequence[float], hits: Sequence[bool], draws: int = 500, seed: int = 0
) -> tuple[float, float, float]:
    """Expected calibration error in ten bins, with the percentile interval of the bootstrap over samples."""
    rng = random.Random(seed)

    def error(places: Sequence[int]) -> float:
        return expected_calibration_error(calibration_bins([stated[i] for i in places], [hits[i] for i in places]))

    n = len(stated)
    again = sorted(error([rng.randrange(n) for _ in range(n)]) for _ in range(draws))
    return error(range(n)), again[int(0.025 * draws)], again[int(0.975 * draws)]


def effect_size(gaps: Sequence[float]) -> tuple[float, float, float]:
    """Mean over standard deviation of paired differences (Cohen's d_z), with its large-sample 95% interval.

    Positive: the first of each pair, the usually favoured one, is favoured. Standard error: sqrt(1/n + d²/(2n)).
    """
    n = len(gaps)
    mean = sum(gaps) / n
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / (n - 1))
    d = mean / spread if spread else 0.0
    half = z_of(0.95) * math.sqrt(1 / n + d * d / (2 * n))
    return d, d - half, d + half


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
