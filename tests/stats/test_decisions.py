"""Power against simulation; the decision rule's error rates at the shipped sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charter.stats.intervals import tango_paired, z_of
from charter.stats.multiplicity import holm
from charter.stats.noninferiority import Verdict, gained, kept, worst
from charter.stats.paired import mcnemar_exact
from charter.stats.power import detectable_difference, mcnemar_power, noninferiority_power


@pytest.mark.parametrize(("n", "delta", "discordance"), [(120, -0.1, 0.2), (400, -0.06, 0.2), (60, 0.15, 0.3)])
def test_power_equals_simulation(n: int, delta: float, discordance: float) -> None:
    rng = np.random.default_rng(11)
    lost_p = (discordance - delta) / 2
    draws = rng.multinomial(n, [discordance - lost_p, lost_p, 1 - discordance], size=3000)
    seen = [mcnemar_exact(int(g), int(lo)) <= 0.05 and (g - lo) * delta > 0 for g, lo, _ in draws]
    assert mcnemar_power(n, delta, discordance) == pytest.approx(np.mean(seen), abs=4 * math.sqrt(0.25 / 3000))


def test_detectable_difference_is_the_threshold_and_near_connors_formula() -> None:
    found = detectable_difference(400, 0.2)
    assert found is not None
    assert mcnemar_power(400, found, 0.2) >= 0.8 > mcnemar_power(400, found - 0.003, 0.2)
    # Connor 1987: n = (z_a sqrt(psi) + z_b sqrt(psi - d^2))^2 / d^2, for the test without continuity correction.
    required = (z_of(0.95) * math.sqrt(0.2) + 0.8416 * math.sqrt(0.2 - found**2)) ** 2 / found**2
    assert required == pytest.approx(400, rel=0.12)


def test_detectable_difference_shrinks_with_n_and_may_not_exist() -> None:
    sizes = [detectable_difference(n, 0.1) for n in (50, 150, 400)]
    assert all(size is not None for size in sizes)
    assert sizes == sorted(sizes, key=lambda s: -(s or 0))
    assert detectable_difference(4, 0.1) is None
    assert detectable_difference(0, 0.1) is None


def test_noninferiority_power_equals_simulation() -> None:
    rng = np.random.default_rng(5)
    n, discordance = 150, 0.2
    draws = rng.multinomial(n, [0.1, 0.1, 0.8], size=1500)
    passed = [tango_paired(int(g), int(lo), n)[0] > -0.1 for g, lo, _ in draws]
    expected = noninferiority_power(n, 0.1, discordance)
    assert expected == pytest.approx(np.mean(passed), abs=4 * math.sqrt(expected * (1 - expected) / 1500))


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (-0.05, 0.02, 0.4, "pass"),
        (-0.06, -0.01, 0.001, "pass"),  # a fall that is shown to be smaller than the margin
        (-0.14, -0.06, 0.001, "regressed"),
        (-0.2, -0.12, 0.2, "regressed"),
        (-0.14, 0.01, 0.2, "inconclusive"),
        (math.nan, math.nan, math.nan, "inconclusive"),
    ],
)
def test_kept(low: float, high: float, p: float, expected: Verdict) -> None:
    assert kept((low + high) / 2, low, high, p, margin=0.1) == expected


@pytest.mark.parametrize(
    ("low", "high", "p", "min_gain", "expected"),
    [
        (0.55, 0.8, 0.0, 0.0, "pass"),
        (0.55, 0.8, 0.0, 0.5, "pass"),
        (0.45, 0.7, 0.0, 0.5, "inconclusive"),
        (0.2, 0.4, 0.0, 0.5, "regressed"),
        (-0.1, 0.1, 0.9, 0.0, "inconclusive"),
        (-0.3, -0.1, 0.01, 0.0, "regressed"),
    ],
)
def test_gained(low: float, high: float, p: float, min_gain: float, expected: Verdict) -> None:
    assert gained((low + high) / 2, low, high, p, min_gain) == expected


def test_worst_never_passes_in_silence() -> None:
    assert worst([]) == "inconclusive"
    assert worst(["pass", "inconclusive", "regressed"]) == "regressed"
    assert worst(["pass", "inconclusive"]) == "inconclusive"
    assert worst(["pass", "pass"]) == "pass"


def _family(rng: np.random.Generator, n: int, deltas: list[float], discordance: float) -> list[Verdict]:
    """One simulated gate over several metrics: exact tests, Holm, Tango's interval, a margin of 0.1."""
    tables = [
        rng.multinomial(n, [(discordance + d) / 2, (discordance - d) / 2, 1 - discordance])[:2].tolist() for d in deltas
    ]
    adjusted = holm([mcnemar_exact(g, lo) for g, lo in tables])
    return [
        kept((g - lo) / n, *tango_paired(g, lo, n), p, margin=0.1) for (g, lo), p in zip(tables, adjusted, strict=True)
    ]


def test_gate_is_right_at_400_samples() -> None:
    """No change ends regressed at most 5% of the time; a true 10-point drop, discordance 0.2, at least 90%."""
    rng = np.random.default_rng(20)
    unchanged = [worst(_family(rng, 400, [0.0, 0.0, 0.0], 0.2)) for _ in range(600)]
    assert unchanged.count("regressed") <= 0.05 * 600
    assert unchanged.count("pass") >= 0.95 * 600
    dropped = [_family(rng, 400, [-0.1, 0.0, 0.0], 0.2)[0] for _ in range(600)]
    assert dropped.count("regressed") >= 0.9 * 600
