"""The gate's promise, simulated through the real comparison and gate, at the sizes of the suites as they ship.

No change is stopped at most 5% of the time; a true fall of 10 points in one metric (discordance 0.2) ends *regressed*,
after Holm over the whole family, at least 90% of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from charter.evaluation.compare import Comparison, compare
from charter.evaluation.gate import CORE_METRICS, GateResult, regression_gate
from charter.evaluation.results import Outcome
from charter.evaluation.suites.catalogue import GATE_SUITES, SPECS
from charter.evaluation.suites.samples import load_suite
from charter.stats.paired import mcnemar_exact
from charter.stats.power import kept_chances

REQUIRED = 500
"""Samples that a suite needs where a metric gates."""
DISCORDANCE = 0.2
SHIPPED = {SPECS[suite].metrics[0]: len(load_suite(suite)) for suite in GATE_SUITES}
SHIPPED = {metric: SHIPPED[metric] for metric in CORE_METRICS}
AS_REQUIRED = dict.fromkeys(CORE_METRICS, REQUIRED)


@cache
def row(metric: str, n: int, lost: int, gained: int) -> Comparison:
    """The comparison of a paired table, through `compare`."""
    base = [Outcome(metric, metric, str(i), 1, float(i >= gained)) for i in range(n)]
    after = [replace(o, value=1 - (o.value or 0.0) if i < gained + lost else o.value) for i, o in enumerate(base)]
    (found,) = compare(base, after)
    assert (found.gained, found.lost) == (gained, lost)
    return found


def gated(rng: np.random.Generator, sizes: dict[str, int], fallen: str | None = None) -> GateResult:
    """One simulated run of the whole family, in which `fallen` lost 10 points."""
    rows = []
    for metric, n in sizes.items():
        delta = -0.1 if metric == fallen else 0.0
        lost, gained, _ = rng.multinomial(n, [(DISCORDANCE - delta) / 2, (DISCORDANCE + delta) / 2, 1 - DISCORDANCE])
        rows.append(row(metric, n, int(lost), int(gained)))
    return regression_gate(rows).decide(rows)


@pytest.mark.parametrize("sizes", [SHIPPED, AS_REQUIRED], ids=["shipped", "required"])
def test_no_change_is_stopped_at_most_5_percent_of_the_time(sizes: dict[str, int]) -> None:
    rng = np.random.default_rng(42)
    stopped = [gated(rng, sizes).verdict == "regressed" for _ in range(150)]
    assert np.mean(stopped) <= 0.05


def too_small(metric: str) -> Sequence[pytest.MarkDecorator]:
    """Where exact enumeration says that a suite's size cannot keep the promise, under Holm's worst case."""
    n = SHIPPED[metric]
    chance = kept_chances(n, 0.1, DISCORDANCE, -0.1, 0.05 / len(SHIPPED))[1]
    if chance >= 0.9:
        return ()
    why = f"{metric} ships {n} samples, {REQUIRED} are asked: a 10-point fall is shown {chance:.0%} of the time"
    return (pytest.mark.xfail(strict=True, reason=why),)


@pytest.mark.parametrize(
    ("sizes", "metric"),
    [pytest.param(AS_REQUIRED, metric, id=f"required-{metric}") for metric in CORE_METRICS[:1]]
    + [pytest.param(SHIPPED, metric, id=f"shipped-{metric}", marks=too_small(metric)) for metric in CORE_METRICS],
)
def test_a_fall_of_10_points_regresses_at_least_90_percent_of_the_time(sizes: dict[str, int], metric: str) -> None:
    rng = np.random.default_rng(7)
    results = [gated(rng, sizes, fallen=metric) for _ in range(100)]
    found = [next(d for d in result.decisions if d.metric == metric).verdict for result in results]
    assert found.count("regressed") >= 90
    assert all(
        result.verdict == "regressed" for result, verdict in zip(results, found, strict=True) if verdict != "pass"
    )


@pytest.mark.parametrize("delta", [0.0, -0.1])
@pytest.mark.parametrize("n", [60, 163, 400])
def test_enumerated_chances_equal_simulation(n: int, delta: float) -> None:
    """What `--estimate` prints against draws judged by the gate itself, one metric alone."""
    rng = np.random.default_rng(n)
    draws = rng.multinomial(n, [(DISCORDANCE - delta) / 2, (DISCORDANCE + delta) / 2, 1 - DISCORDANCE], size=400)
    rows = [row("knowledge", n, int(lost), int(gained)) for lost, gained, _ in draws]
    verdicts = [regression_gate([one]).decide([one]).verdict for one in rows]
    expected = kept_chances(n, 0.1, DISCORDANCE, delta)
    assert sum(expected) == pytest.approx(1)
    for verdict, chance in zip(("pass", "regressed", "inconclusive"), expected, strict=True):
        # Four standard errors of a share of 400 draws.
        assert np.mean([v == verdict for v in verdicts]) == pytest.approx(chance, abs=4 * (0.25 / 400) ** 0.5)


def clustered(rng: np.random.Generator, n: int, epochs: int, delta: float) -> tuple[list[Outcome], list[Outcome]]:
    """Samples whose chance of success is drawn anew on each side: epochs of one sample agree, samples do not."""
    sides = []
    for shift in (0.0, delta):
        chances_N = rng.beta(0.3, 0.3, size=n) * (1 + 2 * shift)
        hits_NE = rng.random((n, epochs)) < chances_N[:, None]
        sides.append([Outcome("s", "m", str(i), e + 1, float(hits_NE[i, e])) for i in range(n) for e in range(epochs)])
    return sides[0], sides[1]


def test_epochs_are_clusters_or_an_unchanged_model_would_be_stopped_too_often() -> None:
    rng = np.random.default_rng(3)
    stopped, naive = [], []
    for _ in range(80):
        base, candidate = clustered(rng, 80, 8, 0.0)
        rows = compare(base, candidate)
        assert (rows[0].n, rows[0].pairs, rows[0].kind) == (80, 640, "rate")
        stopped.append(regression_gate(rows).decide(rows).verdict == "regressed")
        changes = [(c.value or 0) - (b.value or 0) for b, c in zip(base, candidate, strict=True)]
        naive.append(
            changes.count(-1) > changes.count(1) and mcnemar_exact(changes.count(1), changes.count(-1)) <= 0.05
        )
    assert np.mean(stopped) <= 0.05
    # The same draws with every epoch taken for a sample of its own: false alarms well over the promised share.
    assert np.mean(naive) > 0.1


def test_a_fall_shows_through_epochs() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(20):
        rows = compare(*clustered(rng, 400, 3, -0.15))
        found.append(regression_gate(rows).decide(rows).verdict)
    assert found.count("regressed") >= 18
