"""The experiments on tiny models: each runs from nothing to its page, in sizes at which its numbers mean nothing; and
what is computed of the numbers, by hand.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "experiments")]

import checks  # noqa: E402
import daa_overoptimization  # noqa: E402
import figure  # noqa: E402
import frontier  # noqa: E402
import overoptimization  # noqa: E402
import ppo_stability  # noqa: E402
import runs  # noqa: E402
import world  # noqa: E402

from charter.records import Exchange, user_prompt  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Sizes at which a run takes seconds, and a folder for the pages."""
    monkeypatch.setattr(world, "DEMONSTRATIONS", 64)
    monkeypatch.setattr(world, "PAIRS_SEEN", 64)
    monkeypatch.setattr(world, "POLICY", world.Size(16, 1, 2))
    for module in (overoptimization, daa_overoptimization, frontier, ppo_stability):
        monkeypatch.setattr(module, "DOCS", tmp_path)
    return tmp_path


def page_of(module: Any, found: dict[str, Any], docs: Path) -> str:
    """The page as it is rendered from JSON, its figure parsed."""
    module.page(json.loads(json.dumps(found)))
    assert ElementTree.parse(docs / f"{module.NAME}.svg").getroot().tag.endswith("svg")
    return (docs / f"{module.NAME}.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_overoptimization_runs_to_its_page(folder: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overoptimization, "SIZES", {"small": world.Size(8, 1, 2), "large": world.Size(16, 1, 2)})
    monkeypatch.setattr(overoptimization, "TETHERED", ("large", 32))
    monkeypatch.setattr(overoptimization, "MOST", 8)
    monkeypatch.setattr(overoptimization, "NUMBERS", (1, 2, 4, 8))
    monkeypatch.setattr(overoptimization, "HOW", {"batch_size": 4, "samples": 2, "learning_rate": 1e-3})
    monkeypatch.setattr(overoptimization, "WINDOW", 2)
    args = Namespace(runs=folder, steps=6, pool=4, pairs=[32, 64])
    found = {"pairs": args.pairs, **overoptimization.measure(args)}
    assert set(found["proxies"]) == {"small-32", "small-64", "large-32", "large-64"}
    assert all(len(one["rl"]["points"]) == 3 for one in found["proxies"].values())
    # The best of one is a sample like any other: its mean is that of all samples, whatever the proxy.
    assert len({round(one["best_of_n"][0]["gold"], 9) for one in found["proxies"].values()}) == 1
    text = page_of(overoptimization, found, small)
    assert "Best of n follows" in text
    assert "small-64" in text


@pytest.mark.slow
def test_direct_alignment_runs_to_its_page(folder: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daa_overoptimization, "BETAS", (0.1, 1.0))
    monkeypatch.setattr(daa_overoptimization, "LOOKS", 5)
    monkeypatch.setattr(daa_overoptimization, "HOW", {"batch_size": 4, "learning_rate": 1e-3})
    found = daa_overoptimization.measure(Namespace(runs=folder, pairs=20, prompts=8))
    looks = [look for run in found["runs"].values() for look in run["checks"]]
    assert [look["share"] for look in looks] == [0.2, 0.4, 0.6, 0.8, 1.0] * 6
    assert any(look["kl"] != 0 for look in looks)
    assert "Over-optimisation" in page_of(daa_overoptimization, found, small)


@pytest.mark.slow
def test_the_frontier_runs_to_its_page(folder: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "BETAS", (0.1,))
    monkeypatch.setattr(frontier, "TARGETS", (3.0,))
    monkeypatch.setattr(frontier, "LOOKS", 2)
    monkeypatch.setattr(frontier, "WINDOW", 1)
    monkeypatch.setattr(frontier, "DPO", {"batch_size": 8, "learning_rate": 1e-3})
    monkeypatch.setattr(frontier, "PPO", {**frontier.PPO, "batch_size": 4})
    found = frontier.measure(Namespace(runs=folder, pairs=16, prompts=8, steps=2, epochs=1))
    rewards = [look["reward"] for run in found["runs"].values() for look in run["looks"]]
    assert all(0 < reward < 1 for reward in rewards)
    assert "sentiment" in page_of(frontier, found, small)


def test_stability_runs_to_its_page_and_says_what_is_not_measured(
    folder: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ppo_stability, "TINY", {**ppo_stability.TINY, "batch_size": 4})
    monkeypatch.setattr(ppo_stability, "WINDOW", 1)
    found = {"tiny": ppo_stability.tiny(Namespace(runs=folder, seeds=2, steps=2))}
    assert found["tiny"]["seeds"]["0"]["gold"] != found["tiny"]["seeds"]["1"]["gold"]
    assert "not measured yet" in page_of(ppo_stability, found, small)


def test_the_gold_reward_is_that_of_the_words_wherever_they_stand_in_a_batch() -> None:
    rows = [Exchange(str(i), user_prompt("ba de"), text) for i, text in enumerate(["fi mo", "ka", "ka sa te to ba lo"])]
    own = world.World()
    alone = [own.raw_gold([row])[0] for row in rows]
    assert own.raw_gold(rows) == pytest.approx(alone)
    assert len(set(alone)) == 3


def test_a_negation_turns_the_sentiment_of_the_next_word() -> None:
    own = world.World(reward="sentiment")

    def of(text: str) -> float:
        return own.sentiment([Exchange("", user_prompt("ba"), text)])[0]

    def odds(value: float) -> float:
        return math.log(value / (1 - value))

    assert odds(of("ko fi")) * math.sqrt(2) == pytest.approx(-odds(of("fi")))
    assert odds(of("fi ko")) * math.sqrt(2) == pytest.approx(odds(of("fi")))


def test_where_the_truth_turned() -> None:
    gold = [0.0, 1.0, 2.0, 1.0, 0.5]
    points = [runs.Point(i, i, i, value, 0.1, 5.0) for i, value in enumerate(gold)]
    turn = runs.turn_of(points)
    assert (turn.peak, turn.distance, turn.last, turn.fell) == (2.0, 2, 0.5, 1.5)
    assert turn.low == pytest.approx(1.5 - 1.96 * math.hypot(0.1, 0.1))
    assert turn.proxy_rose
    assert not runs.turn_of(points[:3]).fell


def test_stretches_join_neighbours_and_keep_the_error_of_their_mean() -> None:
    steps = [runs.Step(i, float(4 * i), 10.0 + i, float(i), 0.2, 3.0) for i in range(5)]
    (first, second) = runs.stretches(steps, 2, (10.0, 2.0))
    assert (first.distance, first.proxy, first.gold) == (math.sqrt(2), 0.25, 0.5)
    assert second.error == pytest.approx(0.2 / math.sqrt(2))


def test_a_gap_at_equal_distance_is_found() -> None:
    free = [{"distance": d / 4, "gold": (d / 4) ** 2} for d in range(13)]
    above = {"points": [{"distance": d / 4 + 0.125, "gold": (d / 4 + 0.125) ** 2 + 0.5} for d in range(8)]}
    found = {"proxies": {"p": {"rl": {"points": free}}}, "tethered": {"of": "p"}}
    gap = overoptimization.gap(found, above)
    assert gap is not None
    assert gap[0] == pytest.approx(0.5, abs=0.02)
    assert gap[1] <= gap[0] <= gap[2]


def test_a_hump_is_told_from_a_rise() -> None:
    drawn = random.Random(0)
    ds = [i / 10 for i in range(60)]
    hump = [{"d": d, "gold": d * (3 - d / 1.5) + drawn.gauss(0, 0.1)} for d in ds]
    rise = [{"d": d, "gold": d + drawn.gauss(0, 0.1)} for d in ds]
    fallen = daa_overoptimization.hump(hump)
    assert fallen["low"] > 0
    assert fallen["best"] < 4
    assert daa_overoptimization.hump(rise)["best"] == 4


def test_a_frontier_is_the_best_up_to_a_kl() -> None:
    looks = [{"kl": 0.5, "reward": 0.6}, {"kl": 5.0, "reward": 0.9}, {"kl": 8.0, "reward": 0.7}]
    assert frontier.by_band(looks) == [0.6, 0.6, 0.6, 0.9, 0.9, 0.9]
    assert frontier.by_band([{"kl": 3.0, "reward": 0.5}])[0] is None


def test_frontiers_are_compared_where_both_were_looked_at() -> None:
    often = [{"kl": 2.5 + i / 2, "reward": 0.5 + i / 50} for i in range(3)]
    once = [{"kl": 3.0, "reward": 0.9}] * 5
    runs = {"a": {"method": "dpo", "looks": often}, "b": {"method": "ppo", "looks": once}}
    assert frontier.ahead({"runs": runs}, "dpo", "ppo") == {}
    runs["b"]["looks"] = [{**look, "reward": look["reward"] - 0.1} for look in often]
    assert frontier.ahead({"runs": runs}, "dpo", "ppo") == {4.0: pytest.approx(0.1)}


@pytest.mark.parametrize(
    ("kl", "gold", "stable"),
    [([0, 1, 2], [0, 1, 2], True), ([0, -3, 2], [0, 1, 2], False), ([0, 1, 2], [0, 2, 0.5], False)],
)
def test_what_is_stable(kl: list[float], gold: list[float], stable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppo_stability, "WINDOW", 1)
    steps = [{"kl": k, "gold": g, "proxy": g} for k, g in zip(kl, gold, strict=True)]
    assert ppo_stability.story(steps)["stable"] is stable


def test_the_gain_over_seeds_has_students_interval() -> None:
    from scipy.stats import ttest_1samp

    gains = [0.4, 0.9, 0.7, 1.2]
    mean, low, high = ppo_stability.gain({str(i): {"gain": value} for i, value in enumerate(gains)})
    told = ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((statistics.fmean(gains), told.low, told.high))


def test_a_watched_source_gives_what_its_inner_one_gives() -> None:
    from charter.training.layout import Group
    from charter.training.methods.likelihood import SftObjective
    from charter.training.methods.sft import SftSettings
    from charter.training.source import FixedSource

    groups = [Group(str(i), (1,), ((i,),)) for i in range(6)]
    inner = FixedSource(groups, SftObjective({str(i): 1.0 for i in range(6)}), SftSettings(batch_size=2))
    seen: list[int] = []
    watched = checks.Watched(inner, frozenset({1}), seen.append)
    assert [watched.batch(step).groups for step in range(3)] == [inner.batch(step).groups for step in range(3)]
    assert (seen, watched.digest(), watched.rows) == ([1], inner.digest(), inner.rows)


def test_panels_keep_their_points_inside() -> None:
    drawn = figure._curve(figure.Series("a", [(0, 0), (1, 2)]), [(50, 100), (90, 40)], [])
    assert 'points="50.0,100.0 90.0,40.0"' in str(drawn[0])
    whole = str(figure._panel(figure.Panel("t", "x", "y", [figure.Series("a", [(0, -9), (1, 2)])], lowest=-1)))
    places = [part.split(",") for part in whole.split('points="')[1].split('"')[0].split()]
    assert all(figure.TOP <= float(y) <= figure.BOTTOM for _, y in places)
