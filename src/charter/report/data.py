"""What a report needs, and nothing about how it looks. Rates are in [0, 1]; a number that could not be had is None."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Verdict = Literal["pass", "regressed", "inconclusive", "unfinished"]
Change = Literal["improved", "worsened", "same", "changed"]


@dataclass(frozen=True, slots=True)
class ClauseRow:
    """One clause of the charter with the names of what trains, tests, guards and watches it."""

    id: str
    kind: str
    rule: str
    severity: str = ""
    frameworks: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    guard: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One comparison, exactly as it goes into report.json. Higher is better for every metric.

    clause: the clause ids it speaks for, joined by ", ", or None for all. slice None: not a slice. The row about a
    metric's whole set is the one with neither, or else its first without a slice. n: pairs scored on both sides.
    delta, ci_low, ci_high: candidate - base and its interval, in rate units. unscored: rows no judge could score.
    """

    name: str
    n: int
    base: float | None
    candidate: float | None
    delta: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p: float | None = None
    verdict: str | None = None
    unscored: int = 0
    clause: str | None = None
    slice: str | None = None

    @property
    def clauses(self) -> tuple[str, ...]:
        """The clause ids in `clause`."""
        return tuple(part.strip() for part in self.clause.split(",") if part.strip()) if self.clause else ()


@dataclass(frozen=True, slots=True)
class GateRule:
    """What the gate asked of one metric.

    threshold: the smallest delta that is allowed, in rate units. -0.10 is non-inferiority at 10 points, +0.50 a
    required gain; None when the metric is only reported. verdict: pass, regressed, inconclusive or None.
    """

    metric: str
    threshold: float | None
    rule: str
    verdict: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PowerRow:
    """How small a change this many samples can show. detectable in rate units, power and alpha are chances."""

    metric: str
    n: int
    detectable: float | None
    power: float = 0.8
    alpha: float = 0.05
    note: str = ""


@dataclass(frozen=True, slots=True)
class JudgeRow:
    """A judge's measured agreement with labels made without it, on `n` rows of the set named `data`."""

    judge: str
    metrics: tuple[str, ...] = ()
    data: str = ""
    n: int = 0
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    kappa: float | None = None
    kappa_low: float | None = None
    kappa_high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class StageRow:
    """A step of the recipe. reused: finished in an earlier attempt and taken from disk."""

    name: str
    seconds: float | None
    status: str = "done"
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """A training stage's log: one mapping of numbers per logged step, each with "step"."""

    stage: str
    rows: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """What the reward-hacking watch of a training stage found: the stage's watch.json."""

    stage: str
    found: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One prompt with what was said before and after.

    before_score, after_score: what the metric counted, higher is better; they decide improved or worsened.
    Give all samples: the page counts them all and shows as many as a page can hold, those that flipped first.
    Without scores only equal labels can be called the same, and the rest is "changed".
    """

    id: str
    suite: str
    prompt: str
    before: str
    after: str
    before_label: str | None = None
    after_label: str | None = None
    slice: str | None = None
    before_score: float | None = None
    after_score: float | None = None

    @property
    def change(self) -> Change:
        """improved, worsened, same, or changed where no score says which way."""
        if self.before_score is not None and self.after_score is not None:
            if self.before_score == self.after_score:
                return "same"
            return "improved" if self.after_score > self.before_score else "worsened"
        return "same" if self.before_label == self.after_label else "changed"


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """Which clauses (id to digest), suite and model a number was measured on."""

    metric: str
    clauses: Mapping[str, str]
    suite: str
    suite_digest: str
    model_digest: str
    time: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page and in report.json. Raises ValueError for an unknown verdict."""

    title: str
    verdict: Verdict
    summary: str
    model: str
    model_digest: str
    charter: str
    charter_digest: str
    candidate: str = ""
    candidate_digest: str = ""
    clauses: tuple[ClauseRow, ...] = ()
    metrics: tuple[MetricRow, ...] = ()
    gate: tuple[GateRule, ...] = ()
    power: tuple[PowerRow, ...] = ()
    judges: tuple[JudgeRow, ...] = ()
    stages: tuple[StageRow, ...] = ()
    curves: tuple[Curve, ...] = ()
    watches: tuple[Watch, ...] = ()
    samples: tuple[SampleRow, ...] = ()
    evidence: tuple[EvidenceRow, ...] = ()
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    hardware: str = ""
    commands: tuple[str, ...] = ()
    date: str = ""
    decoding: str = ""
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"unknown verdict {self.verdict!r}; known: {', '.join(get_args(Verdict))}")

    def whole(self) -> list[MetricRow]:
        """The row about the whole set of every metric, in order of first mention."""
        found: dict[str, MetricRow] = {}
        for row in self.metrics:
            if row.slice is None and (row.name not in found or (row.clause is None and found[row.name].clause)):
                found[row.name] = row
        return list(found.values())

    def parts(self) -> list[MetricRow]:
        """All other rows: single clauses and slices."""
        whole = {id(row) for row in self.whole()}
        return [row for row in self.metrics if id(row) not in whole]


def read_curve(stage: str, path: Path) -> Curve:
    """The numbers in a stage's metrics.jsonl; no file gives an empty curve.

    Lines that are not JSON are skipped, because a killed run may leave its last line torn; so are values that are
    not finite numbers, and a step logged twice (a resumed run repeats some) keeps its last line.
    """
    rows: dict[float, dict[str, float]] = {}
    if not path.is_file():
        return Curve(stage, ())
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if not isinstance(row, dict):
            continue
        numbers = {
            str(key): float(value)
            for key, value in row.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        }
        if "step" in numbers:
            rows.setdefault(numbers["step"], {}).update(numbers)
    return Curve(stage, tuple(rows[step] for step in sorted(rows)))
