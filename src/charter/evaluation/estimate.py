"""What a regression check will be able to see, and how long it will take, before anything is run.

The chances are exact enumerations over the paired table for a metric whose value changes on a share `discordance` of
the samples. Holm's adjustment is replaced by Bonferroni's, its worst case: *regressed* is at least as likely as said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from charter.errors import UserError, nearest
from charter.evaluation.gate import CORE_METRICS, DEFAULT_MARGIN
from charter.evaluation.logs import read_log
from charter.stats.power import detectable_difference, kept_chances

DISCORDANCE: Final = 0.2
"""Share of samples assumed to change their value where nothing better is known."""
DROP: Final = 0.10


@dataclass(frozen=True, slots=True)
class MetricEstimate:
    """One gated metric: what n samples can show at the family's error rate.

    detectable: smallest change found four times in five. unchanged: chances of (pass, regressed, inconclusive) when
    nothing changed; dropped: the same when the metric fell by DROP.
    """

    suite: str
    metric: str
    n: int
    margin: float
    detectable: float | None
    unchanged: tuple[float, float, float]
    dropped: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The family: its metrics and its chances if nothing changed; seconds per side, None where nothing is known."""

    metrics: tuple[MetricEstimate, ...]
    passes: float
    regressed: float
    inconclusive: float
    discordance: float
    seconds: Mapping[str, float | None]

    def as_row(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def estimate(
    sizes: Mapping[tuple[str, str], int],
    seconds: Mapping[str, float | None],
    margins: Mapping[str, float] | None = None,
    discordance: float = DISCORDANCE,
    alpha: float = 0.05,
) -> Estimate:
    """The chances for gated metrics by (suite, metric) with their sample counts.

    The family's chances take the metrics as independent, which those of different suites are for given rates.
    margins: by metric or suite/metric. Raises ValueError for a discordance outside [0, 1], UserError for a margin of a
    metric that is not there, or one outside (0, 1].
    """
    each = alpha / max(1, len(sizes))
    known = sorted({name for suite, metric in sizes for name in (metric, f"{suite}/{metric}")})
    for name, margin in (margins or {}).items():
        if name not in known:
            raise UserError(
                f'--margin: "{name}" would not be gated.{nearest(name, known)} Metrics: {", ".join(known)}.'
            )
        if not 0 < margin <= 1:
            raise UserError(f"--margin {name}={margin:g}: a margin of a rate lies above 0 and at most at 1.")
    found = []
    for (suite, metric), n in sizes.items():
        margin = (margins or {}).get(metric, (margins or {}).get(f"{suite}/{metric}", DEFAULT_MARGIN))
        found.append(
            MetricEstimate(
                suite,
                metric,
                n,
                margin,
                detectable_difference(n, discordance, each),
                kept_chances(n, margin, discordance, 0.0, each),
                # A fall changes at least as many samples as it loses.
                kept_chances(n, margin, max(discordance, DROP), -DROP, each),
            )
        )
    passes = math.prod(one.unchanged[0] for one in found) if found else 0.0
    stays = math.prod(1 - one.unchanged[1] for one in found)
    return Estimate(tuple(found), passes, 1 - stays, max(0.0, stays - passes), discordance, seconds)


def planned_sizes(suites: Sequence[str], limit: int | None) -> dict[tuple[str, str], int]:
    """What will be gated of shipped suites (the core metrics, or else each suite's first) and the samples of each."""
    from charter.evaluation.suites.catalogue import spec_of
    from charter.evaluation.suites.samples import load_suite

    first = [(suite, spec_of(suite).metrics[0]) for suite in suites]
    gated = [(suite, metric) for suite, metric in first if metric in CORE_METRICS] or first
    return {(suite, metric): min(limit or len(load_suite(suite)), len(load_suite(suite))) for suite, metric in gated}


def sizes_of_logs(source: Path) -> dict[tuple[str, str], int]:
    """What a gate over these logs would gate by default (the core metrics, or else every rate), and their samples."""
    from charter.evaluation.compare import compare
    from charter.evaluation.gate import regression_gate
    from charter.evaluation.results import read_outcomes

    outcomes = read_outcomes(source)
    rows = [row for row in compare(outcomes, outcomes) if row.slice is None]
    gated = regression_gate(rows).metrics
    return {(r.suite, r.metric): r.n for r in rows if r.metric in gated or f"{r.suite}/{r.metric}" in gated}


def planned_seconds(folder: Path, suites: Sequence[str], limit: int | None) -> float | None:
    """Time for `suites` on a model, from the finished logs of the same suites in `folder`; None without any.

    A suite with no log of its own takes as long a token as the others did. What is in the folder already is not run
    again where model and suite are unchanged, so this is the most it takes.
    """
    from charter.evaluation.suites.catalogue import SPECS, spec_of
    from charter.evaluation.suites.samples import load_suite

    rates = _seconds_per_sample(folder)
    if not rates:
        return None
    per_token = [seconds / SPECS[suite].max_tokens for suite, seconds in rates.items() if suite in SPECS]
    sizes = {suite: min(limit or len(load_suite(suite)), len(load_suite(suite))) for suite in suites}
    usual = sum(per_token) / len(per_token) if per_token else None
    total = 0.0
    for suite, n in sizes.items():
        rate = rates.get(suite, None if usual is None else usual * spec_of(suite).max_tokens)
        if rate is None:
            return None
        total += n * rate
    return total


def _seconds_per_sample(folder: Path) -> dict[str, float]:
    rates = {}
    for path in sorted(folder.glob("**/*.eval")) if folder.is_dir() else []:
        header = read_log(path, header_only=True)
        started, ended = header.stats.started_at, header.stats.completed_at
        samples = header.results.completed_samples if header.results else 0
        if header.status == "success" and started and ended and samples:
            took = datetime.fromisoformat(str(ended)) - datetime.fromisoformat(str(started))
            rates[header.eval.task.split("/")[-1]] = took.total_seconds() / samples
    return rates
