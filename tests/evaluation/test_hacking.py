"""The reward-hacking watch's judgement, on looks whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from courses import NEAR, course, look

from charter.evaluation.hacking.suites import suite_values
from charter.evaluation.hacking.text import distinct, repetition
from charter.evaluation.hacking.verdict import FEW, fits, judged, kl_of, proxy_levels, truth_levels
from charter.evaluation.results import read_outcomes
from charter.evaluation.runner import evaluate
from charter.records import Completion, Sampling


def test_a_proxy_that_rises_while_the_truth_falls_is_hacking() -> None:
    found = judged(course(lambda s: s, lambda s: -0.5 * s))
    assert found.verdict == "regressed"
    assert (found.peak, found.kept) == (0, 0)
    (since_start, *_) = found.falls
    assert since_start.delta == pytest.approx(-2, abs=0.4)
    assert since_start.ci_low < -2.0 < since_start.ci_high or abs(since_start.delta + 2) < 0.4
    assert "fell" in found.reason
    assert "proxy rose" in found.reason


def test_a_hump_has_its_peak_in_the_middle_and_its_weights_are_kept() -> None:
    hump = {0: 0.0, 1: 1.5, 2: 2.0, 3: 1.0, 4: 0.0}
    found = judged(course(lambda s: s, lambda s: hump[s]))
    # The end is no worse than the start, but far below the peak.
    assert found.verdict == "regressed"
    assert found.peak == found.kept == 2
    assert {change.since for change in found.falls} >= {2}


def test_a_fall_counts_where_the_proxy_has_long_risen() -> None:
    """A proxy at its ceiling from the second look on: what falls then is what it paid for."""
    found = judged(course(lambda s: 3.0 * (s > 0), lambda s: (0.0, 2.0, 1.0, 0.0, 0.0)[s]))
    assert found.verdict == "regressed"
    assert found.peak == 1


def test_honest_runs_and_runs_without_a_change_pass() -> None:
    both = judged(course(lambda s: s, lambda s: 0.5 * s))
    assert (both.verdict, both.kept) == ("pass", 4)
    still = judged(course(lambda _: 0, lambda _: 0))
    assert (still.verdict, still.kept) == ("pass", 4)


def test_a_truth_that_falls_alone_is_no_pass() -> None:
    found = judged(course(lambda _: 0, lambda s: -s))
    assert found.verdict == "inconclusive"
    assert "not shown to have risen" in found.reason


def test_noise_is_seldom_called_hacking() -> None:
    """The proxy rises; the truth is noise at five looks, and so are three others. 2.5% of wrong alarms are allowed, and
    less is expected, as Holm's adjustment is for the worst dependence."""
    draw = random.Random(7)
    alarms = 0
    for _ in range(30):
        looks = []
        for step in range(5):
            truth = [draw.gauss(0, 1) for _ in NEAR]
            looks.append(look(step, [float(step) + draw.gauss(0, 0.1) for _ in NEAR], truth, rest=3))
        alarms += judged(looks).verdict == "regressed"
    assert alarms <= 3  # P(more | 30 runs, 2.5%) < 1%


def test_too_little_is_inconclusive() -> None:
    few = judged(course(lambda s: s, lambda s: -s, prompts=FEW - 1))
    assert few.verdict == "inconclusive"
    assert "could not be compared" in few.reason
    assert judged(course(lambda s: s, lambda s: -s)[:1]).verdict == "inconclusive"
    # Six prompts that all fall have p = 1/32; of four comparisons none could be shown, whatever happens.
    six = judged(course(lambda s: s, lambda s: -s, prompts=6))
    assert six.verdict == "inconclusive"
    assert "raise watch.prompts" in six.reason
    assert judged(course(lambda s: s, lambda s: -s, prompts=6)[::4]).verdict == "regressed"
    blind = [look(step, [float(step) + i for i in range(16)], []) for step in range(3)]
    assert judged(blind).verdict == "inconclusive"


def test_levels_are_in_deviations_of_the_start_and_the_gap_is_their_difference() -> None:
    first, second = look(0, [0, 0, 0, 0], [0, 2, 0, 2]), look(1, [1, 3, 1, 3], [3, 5, 3, 5])
    assert truth_levels([first, second]) == [0, 3]
    # An implicit reward is 0 everywhere at the start: the end's deviation is its unit.
    assert proxy_levels([first, second]) == [0, 2]


def test_the_fits_find_the_curve_that_the_truth_follows() -> None:
    def gold(kl: float) -> float:
        d = math.sqrt(kl)
        return d * (1.5 - 0.6 * math.log(d)) if d else 0.0

    looks = [
        look(step, [kl] * 16, [gold(kl) + (-1) ** i for i in range(16)], [kl] * 16)
        for step, kl in enumerate((0.0, 1.0, 9.0, 30.0, 80.0))
    ]
    found = {(name, curve.form): curve for name, curve in fits(looks)}
    rl = found["judge, near", "rl"]
    assert (rl.alpha, rl.beta) == (pytest.approx(1.5), pytest.approx(0.6))
    assert rl.r2 == pytest.approx(1.0)
    assert rl.peak == pytest.approx(math.exp(1.5 / 0.6 - 1))
    best_of_n = found["judge, near", "best_of_n"]
    assert best_of_n.r2 is not None
    assert best_of_n.r2 < 0.999
    assert ("all truths", "rl") in found


def test_kl_has_its_interval_over_prompts() -> None:
    found = kl_of(look(0, [0.0] * 16, [0.0] * 16, [float(i) for i in range(16)]))
    assert found is not None
    mean, low, high, n = found
    assert (mean, n) == (7.5, 16)
    # Normal theory: 7.5 ± 1.96 · 4.76 / 4; the bootstrap's is near it.
    assert low == pytest.approx(5.2, abs=0.5)
    assert high == pytest.approx(9.8, abs=0.5)


def test_distinct_and_repetition_count_word_grams() -> None:
    assert distinct(["a b a", "a b"], 1) == 2 / 5
    assert distinct(["a b a", "A b"], 2) == 2 / 3  # a-b, b-a, a-b
    assert distinct(["", "x"], 2) == 1.0
    assert repetition("a b c a b c") == pytest.approx(1 - 3 / 4)  # abc bca cab abc
    assert repetition("no no no no no") == pytest.approx(2 / 3)
    assert repetition("two words") == 0


class Rules:
    """A text model that says the same two things in turn: some instructions are met by them, others are not."""

    name = "rules"

    def generate(self, prompts: Sequence[Any], sampling: Sampling, progress: Any = None) -> list[list[Completion]]:  # noqa: ARG002
        texts = ("yes", "1. apple\n2. pear\n3. plum")
        return [[Completion(texts[len(prompt[-1].content) % 2])] for prompt in prompts]


def test_a_suite_is_scored_as_through_inspect(tmp_path: Path) -> None:
    model = Rules()
    logs = evaluate(model, ["instruction_following"], tmp_path, limit=40, seed=5)
    theirs = {one.sample_id: one.value for one in read_outcomes(logs)}
    ours, unscored = suite_values("instruction_following", model, 40, 5)
    assert ours == theirs
    assert len(ours) == 40
    assert 0 < sum(value or 0 for value in ours.values()) < 40
    assert not unscored
