"""Early stopping: e-values by hand, expected value at most one under the null, and error rates by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multinomial

from charter.stats.intervals import tango_paired
from charter.stats.noninferiority import kept
from charter.stats.paired import mcnemar_exact
from charter.stats.sequential import early, fall_evidence, kept_evidence, looks


def test_the_mixture_is_the_integral() -> None:
    for gained, lost in ((0, 0), (0, 3), (5, 2), (10, 30)):
        ratio, _ = quad(lambda q, g=gained, k=lost: 2 * (2 * q) ** k * (2 * (1 - q)) ** g, 0.5, 1)
        assert fall_evidence(gained, lost) == pytest.approx(math.log(ratio), abs=1e-6)
    assert fall_evidence(0, 0) == pytest.approx(0.0, abs=1e-12)
    assert fall_evidence(0, 400) > fall_evidence(0, 40) > 0 > fall_evidence(40, 0)


@pytest.mark.parametrize("delta", [0.0, 0.05])
def test_expected_evidence_is_at_most_one_without_a_fall(delta: float) -> None:
    n, discordance = 12, 0.4
    rates = [(discordance + delta) / 2, (discordance - delta) / 2, 1 - discordance]
    total = sum(
        multinomial.pmf([g, k, n - g - k], n, rates) * math.exp(fall_evidence(g, k))
        for g in range(n + 1)
        for k in range(n + 1 - g)
    )
    assert total <= 1 + 1e-9
    assert delta > 0 or total == pytest.approx(1.0)  # a martingale exactly at the edge of the null


@pytest.mark.parametrize("fall", [0.1, 0.2])
def test_expected_evidence_is_at_most_one_at_the_margin(fall: float) -> None:
    n, discordance, margin = 12, 0.4, 0.1
    rates = [(discordance - fall) / 2, (discordance + fall) / 2, 1 - discordance]
    total = sum(
        multinomial.pmf([g, k, n - g - k], n, rates) * math.exp(kept_evidence(g, k, n, margin))
        for g in range(n + 1)
        for k in range(n + 1 - g)
    )
    assert total <= 1 + 1e-9
    assert fall > margin or total == pytest.approx(1.0)


def run(drawn: np.random.Generator, total: int, delta: float, metrics: int = 1) -> tuple[str, int]:
    """Verdict of a gate that looks early and decides at the full size as it always does; the size it ended at."""
    rates = [(0.2 + delta) / 2, (0.2 - delta) / 2, 0.8]
    gained = lost = before = 0
    for size in looks(total):
        more = drawn.multinomial(size - before, rates)
        gained, lost, before = gained + int(more[0]), lost + int(more[1]), size
        if size < total:
            word = early(gained, lost, size, 0.1, 0.05, metrics)
            if word is not None:
                return ("pass" if word == "kept" else "regressed"), size
    p = min(1.0, metrics * mcnemar_exact(gained, lost))
    return kept((gained - lost) / total, *tango_paired(gained, lost, total), p, 0.1, 0.05), total


def test_error_rates_by_simulation() -> None:
    drawn = np.random.default_rng(11)
    runs, total = 1500, 520
    unchanged = [run(drawn, total, 0.0) for _ in range(runs)]
    at_margin = [run(drawn, total, -0.1) for _ in range(runs)]
    # Bounds: 1.25% early and 2.5% at the end, both ways; 1500 runs add about 1 point of noise.
    assert np.mean([verdict == "regressed" for verdict, _ in unchanged]) <= 0.0475
    assert np.mean([verdict == "pass" for verdict, _ in at_margin]) <= 0.0475
    # It is worth something, and loses nothing of note.
    assert np.mean([verdict == "regressed" for verdict, _ in at_margin]) >= 0.9
    large_fall = [run(drawn, total, -0.18) for _ in range(300)]
    assert all(verdict == "regressed" for verdict, _ in large_fall)
    assert np.mean([size for _, size in large_fall]) < 0.5 * total


def test_the_looks_alone_keep_their_share() -> None:
    drawn = np.random.default_rng(12)
    stopped = 0
    for _ in range(1500):
        gained = lost = 0
        for _ in range(40):  # looks at every 25 pairs, many more than the gate's
            more = drawn.multinomial(25, [0.1, 0.1, 0.8])
            gained, lost = gained + int(more[0]), lost + int(more[1])
            if fall_evidence(gained, lost) >= math.log(1 / 0.0125):
                stopped += 1
                break
    assert stopped / 1500 <= 0.0125 + 0.006


def test_looks_double_to_the_full_size() -> None:
    assert looks(520) == [64, 128, 256, 512, 520]
    assert looks(64) == [64]
    assert looks(10) == [10]
    with pytest.raises(ValueError, match="impossible"):
        kept_evidence(3, 3, 5, 0.1)
