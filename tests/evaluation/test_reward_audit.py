"""The audit on rewards whose faults are known, and its statistics against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import binom, spearmanr

from charter.evaluation.probes.pairs import KINDS, probe_pairs
from charter.evaluation.reward_audit import RewardAudit, audit_reward, slices_of
from charter.ports import Progress
from charter.records import Exchange, Message, Preference, Rewarded, user_prompt
from charter.stats.correlation import spearman
from charter.stats.probabilities import brier, calibration_bins, expected_calibration_error


class Known:
    """A reward that is a function of the text."""

    name = "known"

    def __init__(self, of: Callable[[str], float | None]) -> None:
        self._of = of

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        if progress is not None:
            progress(len(rows), len(rows))
        values = [self._of(row.completion) for row in rows]
        return [
            Rewarded(row.id, unscored="too odd") if value is None else Rewarded(row.id, value, (value,))
            for row, value in zip(rows, values, strict=True)
        ]


def pairs() -> list[Preference]:
    long, short = "a longer answer with many words in it", "brief"
    made = [Preference(f"l{i}", user_prompt("Q"), long, short, clauses=("1",)) for i in range(6)]
    made += [Preference(f"s{i}", user_prompt("Q"), short, long) for i in range(2)]
    return [*made, Preference("m", user_prompt("Q"), "good one", "bad one!")]


def rates(found: RewardAudit) -> dict[str, tuple[int, int]]:
    return {rate.name: (rate.count, rate.n) for rate in found.accuracy}


def test_a_reward_of_length_is_found_out() -> None:
    found = audit_reward(Known(lambda text: len(text) / 10), pairs())
    assert rates(found) == {
        "all": (6, 9),
        "chosen is longer": (6, 6),
        "chosen is shorter": (0, 2),
        "clause 1": (6, 6),
        "like length": (0, 1),
        "single turn": (6, 9),
    }
    assert found.longer_preferred.rate == 1
    assert (found.longer_chosen.count, found.longer_chosen.n) == (6, 8)
    assert found.length_correlation == (1, 1, 1)
    by_kind = {probe.preferred.name: probe for probe in found.probes}
    assert by_kind["padding"].preferred.rate == by_kind["agreement"].preferred.rate == 1
    assert by_kind["padding"].shift is not None
    assert by_kind["padding"].shift > 1


def test_intervals_are_exact_and_calibration_is_of_the_sigmoid() -> None:
    found = audit_reward(Known(lambda text: len(text) / 10), pairs())
    whole = found.accuracy[0]
    assert whole.ci_low is not None
    assert whole.ci_high is not None
    # Clopper and Pearson: at each end, what was seen or more extreme has a chance of 2.5%.
    assert binom.sf(5, 9, whole.ci_low) == pytest.approx(0.025, abs=1e-6)
    assert binom.cdf(6, 9, whole.ci_high) == pytest.approx(0.025, abs=1e-6)
    margins = np.array([3.2] * 6 + [-3.2] * 2 + [0.0])
    chances = 1 / (1 + np.exp(-margins))
    assert found.brier == pytest.approx(np.mean((1 - chances) ** 2), abs=1e-6)
    sure = 1 / (1 + math.exp(-3.2))
    # Eight pairs are in the bin of the sure, six of them right; the tie says one half and is not right.
    assert found.calibration_error == pytest.approx((8 * abs(sure - 6 / 8) + 0.5) / 9, abs=1e-6)


def test_a_reward_of_markdown_is_found_out_and_nothing_else() -> None:
    found = audit_reward(Known(lambda text: text.count("*") + 0.001 * (len(text) % 7)), pairs())
    by_kind = {probe.preferred.name: probe for probe in found.probes}
    assert by_kind["formatting"].preferred.rate == 1
    assert by_kind["formatting"].p is not None
    assert by_kind["formatting"].p < 1e-12
    for kind in ("agreement", "padding"):
        assert by_kind[kind].preferred.rate is not None
        assert by_kind[kind].preferred.rate < 0.9


def test_a_constant_reward_is_indifferent() -> None:
    found = audit_reward(Known(lambda _: 1.0), pairs())
    assert found.accuracy[0].rate == 0  # a tie is not a preference
    assert found.brier == 0.25
    assert found.length_correlation is None
    assert all(probe.p is None and probe.shift is None for probe in found.probes)


def test_unscored_sides_are_counted_and_in_nothing_else() -> None:
    found = audit_reward(Known(lambda text: None if text == "good one" else float(len(text))), pairs())
    assert found.unscored == {"too odd": 1}
    assert found.accuracy[0].n == 8
    none = audit_reward(Known(lambda _: None), pairs())
    assert none.unscored == {"too odd": 9}
    assert none.accuracy[0].rate is none.brier is none.calibration_error is None
    assert none.as_json()["accuracy"][0]["rate"] is None


def test_slices() -> None:
    several = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert slices_of(Preference("p", several, "```x```", "какой-то ответ на русском")) == [
        "multi-turn", "code", "script other than Latin", "chosen is shorter",
    ]  # fmt: skip


def test_probes_differ_in_nothing_but_the_addition() -> None:
    made = probe_pairs()
    assert len({probe.id for probe in made}) == len(made) == 64 * len(KINDS)

    def words(text: str) -> list[str]:
        return text.replace("*", "").replace("- ", "").split()

    for probe in made:
        assert probe.plain != probe.marked
        if probe.kind == "agreement":
            assert probe.marked.endswith(f" {probe.plain}")
        elif probe.kind == "padding":
            assert probe.marked.startswith(f"{probe.plain} ")
        else:
            assert words(probe.marked.split("\n\n", 1)[1]) == words(probe.plain)


def test_spearman_and_its_interval() -> None:
    drawn = np.random.default_rng(0)
    x = drawn.normal(size=50).round(1)
    y = x + drawn.normal(size=50)
    found = spearman(x.tolist(), y.tolist())
    assert found is not None
    assert found[0] == pytest.approx(spearmanr(x, y).statistic)
    z, half = math.atanh(found[0]), 1.959964 * math.sqrt((1 + found[0] ** 2 / 2) / 47)
    assert found[1:] == pytest.approx((math.tanh(z - half), math.tanh(z + half)))
    assert spearman([1, 2, 3], [1, 2, 3]) is None
    assert spearman([1, 1, 1, 1], [1, 2, 3, 4]) is None


def test_probabilities() -> None:
    stated, true = [0.05, 0.95, 0.95, 0.55, 1.0], [False, True, False, True, True]
    assert brier(stated, true) == pytest.approx((0.0025 + 0.0025 + 0.9025 + 0.2025) / 5)
    bins = calibration_bins(stated, true)
    assert [b.n for b in bins] == [1, 1, 3]
    want = (1 * 0.05 + 1 * 0.45 + 3 * abs(2.9 / 3 - 2 / 3)) / 5
    assert expected_calibration_error(bins) == pytest.approx(want)
    with pytest.raises(ValueError, match="lies in"):
        brier([1.2], [True])
    with pytest.raises(ValueError, match="as many"):
        brier([], [])
