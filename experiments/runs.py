"""Runs in the world of `world.py`, and the truth along them: what was sampled at each step, scored afterwards."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from world import LONGEST, Lab, Truth, kept

from charter.records import Exchange, Prompt, read_jsonl
from charter.stats.overoptimization import Curve, Form, fit
from charter.training.catalogue import method

SETTINGS: dict[str, Any] = {
    "lora": None, "max_tokens": 64, "sample_tokens": LONGEST, "row_tokens": 4096, "save_every": 10**6, "warmup": 0.0,
    "schedule": "constant",
}  # fmt: skip
"""Of every run here: all weights trained, at a constant rate."""
UNTETHERED = 1e-6
"""A weight of the KL that changes nothing and has it measured."""


@dataclass(frozen=True)
class Step:
    """A run at one of its steps, means over the step's samples.

    kl: of policy and reference per completion, in nats, k1.  proxy: what was optimised.  gold: the truth, with its
    standard error.  length: in words.
    """

    step: int
    kl: float
    proxy: float
    gold: float
    error: float
    length: float


def run_policy(
    lab: Lab, folder: Path, name: str, reward: str | None, *, prompts: int, seed: int = 0, **settings: Any
) -> list[Step]:
    """A policy-gradient method of the catalogue on the reference; the truth at each of its steps.

    reward: the folder of a proxy; None optimises the truth itself.
    """

    def work() -> dict[str, Any]:
        from charter.training.reward_model import RewardModel

        chosen, asked = method(name), lab.world.prompts(prompts, 1000 + seed)
        part = {"model": reward} if reward else {"function": "world:gold"}
        how = chosen.settings.model_validate({**SETTINGS, "seed": seed, "reward": [part], **settings})
        shutil.rmtree(folder, ignore_errors=True)
        aim = RewardModel(reward, row_tokens=4096) if reward else Truth(lab)
        chosen.run(lab.reference, asked, how, folder, aim)
        found = [asdict(one) for one in steps_of(lab, folder, asked)]
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return {"settings": how.model_dump(mode="json"), "steps": found}

    return [Step(**one) for one in kept(folder / "steps.json", work)["steps"]]


def steps_of(lab: Lab, folder: Path, asked: Sequence[Prompt]) -> list[Step]:
    """From a run's samples and metrics: one per rollout."""
    prompts = {one.id: one.prompt for one in asked}
    by_step: dict[int, list[dict[str, Any]]] = {}
    for _, row in read_jsonl(folder / "samples.jsonl"):
        by_step.setdefault(row["step"], []).append(row)
    kl = {row["step"]: row["kl"] for _, row in read_jsonl(folder / "metrics.jsonl") if "kl" in row}
    found = []
    for step, rows in by_step.items():
        gold = lab.gold([Exchange(row["id"], prompts[row["id"]], row["text"]) for row in rows])
        found.append(
            Step(
                step,
                kl[step],
                statistics.fmean(row["reward"] for row in rows),
                statistics.fmean(gold),
                statistics.stdev(gold) / math.sqrt(len(gold)),
                statistics.fmean(len(row["text"].split()) for row in rows),
            )
        )
    return found


@dataclass(frozen=True)
class Point:
    """A stretch of a run: means over a few neighbouring steps. distance: square root of the KL.

    error: standard error of the gold reward.
    """

    step: float
    distance: float
    proxy: float
    gold: float
    error: float
    length: float


def stretches(steps: Sequence[Step], window: int, unit: tuple[float, float] = (0.0, 1.0)) -> list[Point]:
    """Neighbouring steps joined, `window` at a time; the proxy less `unit[0]`, divided by `unit[1]`.

    The error is that of the mean of a window's samples, were they drawn from one policy.
    """
    found = []
    for start in range(0, len(steps) - window + 1, window):
        own = steps[start : start + window]
        mean = {name: statistics.fmean(getattr(one, name) for one in own) for name in ("step", "kl", "proxy", "gold")}
        found.append(
            Point(
                mean["step"],
                math.sqrt(max(mean["kl"], 0.0)),
                (mean["proxy"] - unit[0]) / unit[1],
                mean["gold"],
                math.sqrt(sum(one.error**2 for one in own)) / window,
                statistics.fmean(one.length for one in own),
            )
        )
    return found


@dataclass(frozen=True)
class Turn:
    """Whether and where the truth turned.

    peak, distance: the highest gold reward of a stretch, and where.  last: that of the last stretch.
    fell: by how much it fell from there, with a 95% interval; of the highest of several stretches, whose chance part
    makes the fall a little too large.  proxy_rose: whether the proxy was higher at the end than at the peak.
    """

    peak: float
    distance: float
    last: float
    furthest: float
    fell: float
    low: float
    high: float
    proxy_rose: bool


def turn_of(points: Sequence[Point]) -> Turn:
    """Where a run's truth is highest, and what became of it."""
    best, last = max(points, key=lambda one: one.gold), points[-1]
    fell, half = best.gold - last.gold, 1.96 * math.hypot(best.error, last.error)
    furthest = max(one.distance for one in points)
    rose = last.proxy > best.proxy
    return Turn(best.gold, best.distance, last.gold, furthest, fell, fell - half, fell + half, rose)


def fitted(form: Form, points: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    """A fit of Gao et al.'s curve as JSON has it."""
    curve: Curve | None = fit(form, [d for d, _ in points], [gold for _, gold in points])
    return None if curve is None else {**asdict(curve), "peak_reward": curve.peak_reward}
