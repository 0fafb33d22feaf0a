"""DPO and PPO on controlled sentiment, reward against KL (Rafailov et al. 2023, fig. 2): docs/experiments/frontier.md.

    python experiments/frontier.py            # a few minutes on one core; continues where it was cut off
    python experiments/frontier.py --page     # the page and figure alone, from the JSON

The reward is known: the chance that a completion is positive, by its words. DPO learns from pairs that it ordered; PPO
from a reward model trained on the same pairs; PPO-GT from the reward itself. DPO at four β, both PPOs at four targets
of the KL, all looked at several times along their runs. The world and its models are in `world.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checks import run_pairs
from figure import Panel, Series, draw
from pages import Claim, facts, number, table, write_page
from runs import run_policy, stretches
from world import DOCS, ROOT, Lab, Size, World, spent, tell

from charter.records import write_text

NAME = "frontier"
BETAS, TARGETS = (0.05, 0.1, 1.0, 5.0), (3.0, 6.0, 9.0, 12.0)
LOOKS, WINDOW = 6, 2
DPO: dict[str, Any] = {"batch_size": 64, "learning_rate": 2e-3}
PPO: dict[str, Any] = {
    "batch_size": 64, "samples": 1, "mini_batches": 2, "update_epochs": 2, "learning_rate": 1e-3, "beta": 0.02,
    "kl_horizon": 300,
}  # fmt: skip
METHODS = {"dpo": "DPO", "ppo": "PPO", "ppo-gt": "PPO, true reward"}
BANDS = (1.0, 2.0, 4.0, 6.0, 9.0, 12.0)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    lab = Lab(args.runs / "world", World(reward="sentiment"))
    folder: Path = args.runs / NAME
    clock = spent(folder / "seconds")
    pairs = lab.preferences(args.pairs, 3)
    proxy = lab.proxy(Size(48, 2), pairs, f"sentiment-large-{args.pairs}")
    runs: dict[str, Any] = {}
    for beta in BETAS:
        checks = run_pairs(
            lab, folder / f"dpo-{beta}", "dpo", pairs, LOOKS, args.prompts, beta=beta, epochs=args.epochs, **DPO
        )
        looks = [{"kl": one.kl, "reward": one.gold, "error": one.error} for one in checks]
        runs[f"dpo-{beta:g}"] = {"method": "dpo", "at": f"β {beta:g}", "looks": looks}
        tell(f"DPO, beta {beta}: {looks[-1]}; {clock():.0f} s")
    for name, aim in (("ppo", proxy), ("ppo-gt", None)):
        for target in TARGETS:
            steps = run_policy(
                lab, folder / f"{name}-{target}", "ppo", aim, prompts=PPO["batch_size"] * args.steps,
                **{**PPO, "kl_target": target},
            )  # fmt: skip
            looks = [{"kl": p.distance**2, "reward": p.gold, "error": p.error} for p in stretches(steps, WINDOW)]
            runs[f"{name}-{target:g}"] = {"method": name, "at": f"KL {target:g}", "looks": looks}
            tell(f"{name}, target {target}: {looks[-1]}; {clock():.0f} s")
    return {"facts": facts(), "seconds": clock(), "pairs": args.pairs, "epochs": args.epochs, "steps": args.steps,
            "prompts": args.prompts, "dpo": DPO, "ppo": PPO, "runs": runs}  # fmt: skip


def at(found: dict[str, Any], name: str) -> list[dict[str, float]]:
    """All looks at a method's runs."""
    return [look for run in found["runs"].values() if run["method"] == name for look in run["looks"]]


def by_band(looks: Sequence[dict[str, float]]) -> list[float | None]:
    """The best reward up to each KL: what a user who may go so far can have."""
    return [max((look["reward"] for look in looks if look["kl"] <= band), default=None) for band in BANDS]


def ahead(found: dict[str, Any], one: str, other: str) -> dict[float, float]:
    """By how much a method's frontier is above another's, by KL: where both were looked at three times or more between
    that KL and the one before. Looks that two runs have in common count once.
    """
    sides = [at(found, one), at(found, other)]
    both = zip((0.0, *BANDS), BANDS, by_band(sides[0]), by_band(sides[1]), strict=False)
    return {
        high: a - b
        for low, high, a, b in both
        if a is not None and b is not None and all(between(looks, low, high) >= 3 for looks in sides)
    }


def between(looks: Sequence[dict[str, float]], low: float, high: float) -> int:
    """How many different looks have a KL above `low` and up to `high`."""
    return len({(round(one["kl"], 1), round(one["reward"], 2)) for one in looks if low < one["kl"] <= high})


def claims(found: dict[str, Any]) -> list[Claim]:
    """Figure 2's claims against the numbers."""
    error = statistics.fmean(look["error"] for name in METHODS for look in at(found, name))
    margin = 2 * math.sqrt(2) * error
    rows = []
    for other, text in (
        ("ppo", "DPO's frontier is above PPO's, which learned from the same pairs"),
        ("ppo-gt", "… and above that of PPO with the true reward"),
    ):
        by = ahead(found, "dpo", other)
        if not by:
            rows.append(
                Claim(text, None, "the two were hardly looked at at the same KLs: the runs passed them too fast")
            )
            continue
        none_below, some_above = min(by.values()) > -margin, max(by.values()) > margin
        seen = (
            f"best reward up to KL {', '.join(f'{band:g}' for band in by)}: DPO ahead by "
            f"{', '.join(number(value, 3) for value in by.values())}; twice a difference's standard error is "
            f"{number(margin, 3)}"
        )
        rows.append(Claim(text, some_above if none_below else False, seen))
    return rows


OPENING = """
How much of a known reward a method gets for how far it goes from its reference: the second figure of
[Rafailov et al. 2023](https://arxiv.org/abs/2305.18290), with the tiny models of
[reward model over-optimisation](overoptimization.md) in place of GPT-2 and film reviews. Words have values drawn at
random, two of them turn the value of the next one round, and a completion's reward is its chance of being positive. The
pairs are two completions of the reference each, the more positive one chosen.
"""


def page(found: dict[str, Any]) -> None:
    """The page and its figure."""
    every = [
        Series(title, [(look["kl"], look["reward"]) for look in at(found, name)], colour, marks=True, line=False)
        for colour, (name, title) in enumerate(METHODS.items())
    ]
    best = []
    for colour, (name, title) in enumerate(METHODS.items()):
        reached = zip(BANDS, by_band(at(found, name)), strict=True)
        points = [(band, reward) for band, reward in reached if reward is not None]
        best.append(Series(title, points, colour, marks=True))
    draw(
        DOCS / f"{NAME}.svg",
        [
            Panel("Every look at every run", "KL from the reference, nats", "chance of positive", every),
            Panel("Best up to a KL", "KL from the reference, nats", "chance of positive", best),
        ],
        "Reward against KL of DPO, PPO and PPO with the true reward",
    )
    rows = [
        [METHODS[run["method"]], run["at"], number(run["looks"][-1]["kl"], 1),
         f"{number(run['looks'][-1]['reward'], 3)} ± {number(1.96 * run['looks'][-1]['error'], 3)}",
         number(max(look["reward"] for look in run["looks"]), 3)]
        for run in found["runs"].values()
    ]  # fmt: skip
    bands = [[METHODS[name], *(number(value, 3) for value in by_band(at(found, name)))] for name in METHODS]
    ppo, dpo = found["ppo"], found["dpo"]
    parts = [
        "## Numbers",
        "Best reward up to a KL, in nats:",
        table(("", *(f"{band:g}" for band in BANDS)), bands),
        "Each run at its end:",
        table(("method", "at", "KL", "reward (95%)", "best of its looks"), rows),
        f"How: {found['pairs']} pairs. DPO: {found['epochs']} passes, batches of {dpo['batch_size']}, rate "
        f"{dpo['learning_rate']}; {LOOKS} looks of {found['prompts']} completions. PPO: {found['steps']} rollouts of "
        f"{ppo['batch_size']}, {ppo['mini_batches'] * ppo['update_epochs']} updates each, rate {ppo['learning_rate']}, "
        f"KL weight {ppo['beta']} at the start, steered to the target; {WINDOW} rollouts a look, scored as they were "
        "drawn. A best is the highest of several looks and so has some luck in it, on all sides alike; a band that no "
        "look fell into has the best of those below it. PPO is told a target, but in so few rollouts its controller "
        "need not get there. One seed.",
    ]
    title = "DPO and PPO on controlled sentiment (Rafailov et al. 2023)"
    write_page(DOCS / f"{NAME}.md", title, OPENING, claims(found), parts, found)


def main() -> None:
    """Measure what is not measured yet, and write JSON, figure and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="only the page and the figure, from the JSON")
    parser.add_argument("--pairs", type=int, default=2400, help="pairs (2400)")
    parser.add_argument("--epochs", type=int, default=2, help="DPO's passes over them (2)")
    parser.add_argument("--steps", type=int, default=40, help="rollouts of each PPO run (40)")
    parser.add_argument("--prompts", type=int, default=320, help="requests at each look at DPO (320)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "experiments")
    args = parser.parse_args()
    file = DOCS / f"{NAME}.json"
    if not args.page:
        write_text(file, json.dumps(measure(args), indent=1) + "\n")
    page(json.loads(file.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
