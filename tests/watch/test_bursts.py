"""Near-duplicates: found whatever the order, and a burst among them told from what is usual."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.stats import binom

from charter.overlap import shingles
from charter.watch.bursts import find_bursts
from charter.watch.duplicates import alike_by_meaning, alike_by_words, clusters, signatures

WORDS = [f"{a}{b}" for a in ("ba", "ke", "lo", "mi", "nu", "pa", "ri") for b in ("d", "ft", "g", "lm", "n", "r", "st")]


def texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 25))) for _ in range(count)]


def variants(count: int, seed: int) -> list[str]:
    """One probe of 30 words with one word changed in each."""
    rng = random.Random(seed)
    base = rng.choices(WORDS, k=30)
    return [" ".join([*base[:place], f"x{n}", *base[place + 1 :]])
            for n in range(count) for place in [rng.choice([0, 1, 28, 29])]]  # fmt: skip


def test_signatures_estimate_jaccard() -> None:
    pair = variants(2, seed=1)
    other = texts(1, seed=2)[0]
    sides = [shingles(text) for text in (*pair, other)]
    exact = [len(sides[0] & one) / len(sides[0] | one) for one in sides[1:]]
    got = (signatures([*pair, other])[1:] == signatures([pair[0]])).mean(axis=1)
    # 64 hashes: a standard error of at most 1/16.
    assert np.abs(got - exact).max() < 4 / 16
    assert exact[0] > 0.7 > 0.1 > exact[1]


def test_groups_do_not_depend_on_the_order_of_rows() -> None:
    every = [*texts(40, 0), *variants(12, 1), *variants(6, 2), "hello", "hello", "hello"]
    wanted = {frozenset(every[n] for n in group) for group in clusters(every, alike_by_words(every))}
    for seed in range(5):
        mixed = random.Random(seed).sample(every, len(every))
        groups = clusters(mixed, alike_by_words(mixed))
        assert {frozenset(mixed[n] for n in group) for group in groups} == wanted
        assert sorted(len(group) for group in groups) == [3, 6, 12]


def test_meaning_finds_what_words_do_not() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 2]]
    vectors[2] = [0.99, 0.14, 0, 0]
    assert alike_by_meaning(np.array([5, 6, 9, 11]), vectors) == [(5, 9)]


@pytest.mark.parametrize("where", ["together", "scattered"])
def test_thirty_among_ten_thousand(where: str) -> None:
    rng = random.Random(7)
    reference, stream = texts(2500, 3), texts(9970, 4)
    places = range(5000, 5030) if where == "together" else sorted(rng.sample(range(10_000), 30))
    for place, probe in zip(places, variants(30, 9), strict=True):
        stream.insert(place, probe)
    every = [*reference, *stream]
    found = find_bursts(clusters(every, alike_by_words(every)), [None] * len(every), 2500, 0.015, 0)
    kind = "burst" if where == "together" else "repeated"
    (hit,) = [one for one in found if one.kind == kind]
    assert set(hit.rows) == set(places)
    assert hit.statistic > hit.threshold


def test_one_caller_is_named() -> None:
    callers = [f"u{n % 50}" for n in range(3000)]
    for place in range(2000, 2012):
        callers[place] = "prober"
    found = find_bursts([range(2000, 2012)], callers, 1000, 0.03, 0)
    assert {(one.kind, one.caller) for one in found} >= {("caller burst", "prober")}


def test_usual_repetition_is_no_burst() -> None:
    # Everybody says hello: a fifth of the traffic is three phrases, before and after.
    runs, alpha, alarms = 60, 0.15, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        phrase = rng.choice(4, 700, p=[0.1, 0.06, 0.04, 0.8])
        groups = [np.flatnonzero(phrase == one).tolist() for one in range(3)]
        alarms += bool(find_bursts(groups, [f"u{n}" for n in rng.integers(0, 20, 700)], 300, alpha, seed))
    assert alarms <= binom.ppf(0.999, runs, alpha)
