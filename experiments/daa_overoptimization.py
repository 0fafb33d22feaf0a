"""Over-optimisation without a reward model (Rafailov et al. 2024): docs/experiments/daa_overoptimization.md.

    python experiments/daa_overoptimization.py        # a few minutes on one core; continues where it was cut off
    python experiments/daa_overoptimization.py --page # the page and figure alone, from the JSON

DPO, IPO and the hinge, each at several β, for one pass over pairs that a gold reward labelled. Six times in the pass
the policy is looked at: its KL from the reference, the gold reward of what it says, and how its implicit reward goes
with length on completions that it was not trained on. The world and its models are in `world.py`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from checks import LOSSES, run_pairs
from figure import Panel, Series, draw
from pages import Claim, facts, interval, number, table, write_page
from runs import fitted
from world import DOCS, ROOT, Lab, spent, tell

from charter.records import write_text

NAME = "daa_overoptimization"
BETAS = (0.01, 0.05, 0.25, 1.0)
LOOKS = 6
HOW: dict[str, Any] = {"batch_size": 64, "learning_rate": 5e-4, "schedule": "constant"}
TITLES = {"dpo": "DPO", "ipo": "IPO", "slic": "hinge"}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    lab = Lab(args.runs / "world")
    folder: Path = args.runs / NAME
    clock = spent(folder / "seconds")
    pairs = lab.preferences(args.pairs, 3)
    runs = {}
    for name in LOSSES:
        for beta in BETAS:
            checks = run_pairs(lab, folder / f"{name}-{beta}", name, pairs, LOOKS, args.prompts, beta=beta, **HOW)
            runs[f"{name}-{beta}"] = {"loss": name, "beta": beta, "checks": [asdict(one) for one in checks]}
            tell(f"{name}, beta {beta}: gold {checks[-1].gold:.2f} at KL {checks[-1].kl:.1f}; {clock():.0f} s")
    return {"facts": facts(), "seconds": clock(), "how": HOW, "looks": LOOKS, "prompts": args.prompts,
            "pairs": len(pairs), "runs": runs}  # fmt: skip


def points(found: dict[str, Any], loss: str) -> list[dict[str, Any]]:
    """All looks at the runs of a loss, by distance."""
    runs = [run for run in found["runs"].values() if run["loss"] == loss]
    looks = [{**look, "beta": run["beta"], "d": distance(look)} for run in runs for look in run["checks"]]
    return sorted(looks, key=lambda look: float(look["d"]))


def distance(look: dict[str, Any]) -> float:
    """d = √KL of a look; an estimate below 0 counts as 0."""
    return float(max(look["kl"], 0.0) ** 0.5)


def hump(looks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The looks in five stretches of equal number by distance: gold of the best one against the furthest one.

    fell: with a 95% interval from the spread of the looks inside the two stretches.
    """
    size = len(looks) // 5
    bins = [looks[i * size : (i + 1) * size if i < 4 else None] for i in range(5)]
    gold = [statistics.fmean(look["gold"] for look in own) for own in bins]
    best = gold.index(max(gold))
    error = [statistics.variance([look["gold"] for look in own]) / len(own) for own in bins]
    fell, half = gold[best] - gold[-1], 1.96 * (error[best] + error[-1]) ** 0.5
    return {"d": [statistics.fmean(look["d"] for look in own) for own in bins], "gold": gold, "best": best,
            "fell": fell, "low": fell - half, "high": fell + half}  # fmt: skip


def claims(found: dict[str, Any]) -> list[Claim]:
    """The paper's claims against the numbers."""
    humps = {loss: hump(points(found, loss)) for loss in LOSSES}
    early = []
    for name, run in found["runs"].items():
        best = max(run["checks"], key=lambda look: float(look["gold"]))
        last = run["checks"][-1]
        half = 1.96 * (best["error"] ** 2 + last["error"] ** 2) ** 0.5
        if best["share"] < 1 and best["gold"] - last["gold"] > half:
            early.append(name)
    fits = {loss: fitted("rl", [(look["d"], look["gold"]) for look in points(found, loss)]) for loss in LOSSES}
    by_beta = {
        beta: [run["checks"][-1]["with_length"] ** 2 for run in found["runs"].values() if run["beta"] == beta]
        for beta in BETAS
    }
    small, large = (statistics.fmean(by_beta[beta]) for beta in (BETAS[0], BETAS[-1]))
    kl = {beta: [run["checks"][-1]["kl"] for run in found["runs"].values() if run["beta"] == beta] for beta in BETAS}
    falling = all(statistics.fmean(kl[a]) > statistics.fmean(kl[b]) for a, b in itertools.pairwise(BETAS))
    return [
        Claim(
            "Quality is a hump in √KL for every loss: it falls at large KL without any reward model",
            all(one["low"] > 0 and one["best"] < 4 for one in humps.values()),
            "; ".join(
                f"{TITLES[loss]}: best fifth {number(max(one['gold']))} at d {number(one['d'][one['best']], 1)}, "
                f"fell by {interval(one['fell'], one['low'], one['high'])}"
                for loss, one in humps.items()
            ),
        ),
        Claim(
            "It can fall before one pass over the data is done",
            bool(early),
            f"{len(early)} of {len(found['runs'])} runs ended below an earlier look by more than chance"
            + (f": {', '.join(early)}" if early else ""),
        ),
        Claim(
            "The form of RL, R = d(α − β log d), fits",
            all(one is not None and (one["r2"] or 0) > 0.9 for one in fits.values()),
            "; ".join(f"{TITLES[loss]}: R² {number(one['r2'] if one else None)}" for loss, one in fits.items()),
        ),
        Claim(
            "A smaller β ends at a larger KL",
            falling,
            ", ".join(f"β {beta:g}: {number(statistics.fmean(own), 1)}" for beta, own in kl.items())
            + " nats, mean over losses",
        ),
        Claim(
            "The implicit reward goes with length, more so under a tighter budget (larger β)",
            large > small and large > 0.05,
            "R² of log-ratio and length at the end, mean over losses: "
            + ", ".join(f"β {beta:g}: {number(statistics.fmean(own))}" for beta, own in by_beta.items()),
        ),
    ]


OPENING = """
Methods that learn from pairs directly have no proxy that could be gamed, and still get worse when they go too far from
their reference: [Rafailov et al. 2024](https://arxiv.org/abs/2406.02900), in the world of
[reward model over-optimisation](overoptimization.md): the same language, reference (46 thousand weights) and gold
reward, whose labels the pairs carry. Their quality is a win rate judged by GPT-4; here it is the gold reward itself, in
standard deviations over what the reference says, whose mean is 0. Longer completions are better up to 8 words, and
most of the reference's are shorter.
"""


def page(found: dict[str, Any]) -> None:
    """The page and its figure."""
    panels = []
    for loss in LOSSES:
        own = [run for run in found["runs"].values() if run["loss"] == loss]
        series = [
            Series(f"β {run['beta']:g}", [(distance(c), c["gold"]) for c in run["checks"]], colour, marks=True)
            for colour, run in enumerate(own)
        ]
        panels.append(Panel(f"{TITLES[loss]}, looks inside one pass", "d = √KL", "gold reward", series))
    for title, value in (("R² of implicit reward and length", "with_length"), ("… and gold reward", "with_gold")):
        series = [
            Series(TITLES[loss] if beta == BETAS[0] else "",
                   [(c["share"], c[value] ** 2) for c in found["runs"][f"{loss}-{beta}"]["checks"]], colour,
                   dashed=beta == BETAS[0])
            for colour, loss in enumerate(LOSSES) for beta in (BETAS[0], BETAS[-1])
        ]  # fmt: skip
        shown = f"{title} (dashed: β {BETAS[0]:g}, full: {BETAS[-1]:g})"
        panels.append(Panel(shown, "share of the pass", "R²", series))
    lengths = {loss: [(look["d"], look["length"]) for look in points(found, loss)] for loss in LOSSES}
    series = [
        Series(TITLES[loss], own, colour, marks=True, line=False) for colour, (loss, own) in enumerate(lengths.items())
    ]
    panels.append(Panel("Length of what is said", "d = √KL", "words", series))
    draw(DOCS / f"{NAME}.svg", panels, "Gold reward against the square root of the KL, and length")
    rows = []
    for run in found["runs"].values():
        best, last = max(run["checks"], key=lambda c: float(c["gold"])), run["checks"][-1]
        rows.append(
            [TITLES[run["loss"]], f"{run['beta']:g}", number(best["gold"]), f"{best['share']:.0%}",
             number(distance(best), 1), f"{best['wins']:.0%}", number(last["gold"]),
             number(distance(last), 1), f"{last['wins']:.0%}", number(last["length"], 1),
             number(last["slope"], 3), number(last["with_length"] ** 2), number(last["with_gold"] ** 2)]
        )  # fmt: skip
    head = ("loss", "β", "best gold", "after", "at d", "wins", "gold at the end", "at d", "wins", "words",
            "nats a word", "R² with length", "R² with gold")  # fmt: skip
    parts = [
        "## Numbers",
        table(head, rows),
        f"How: {found['pairs']} pairs, batches of {found['how']['batch_size']}, rate {found['how']['learning_rate']}; "
        f"{found['looks']} looks of {found['prompts']} requests with one completion each. *wins*: better "
        "than the reference's own completion of the same request. The implicit reward, log π/reference, is read on "
        "held-out completions of the reference. One seed of the world and of the runs; a best look is the highest of "
        "six, so chance makes falls a little too large. No look was further away than "
        f"d = {number(max(distance(c) for run in found['runs'].values() for c in run['checks']), 1)}: what lies beyond "
        "was not seen.",
    ]
    title = "Over-optimisation of direct alignment (Rafailov et al. 2024)"
    write_page(DOCS / f"{NAME}.md", title, OPENING, claims(found), parts, found)


def main() -> None:
    """Measure what is not measured yet, and write JSON, figure and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="only the page and the figure, from the JSON")
    parser.add_argument("--pairs", type=int, default=4800, help="pairs in the one pass (4800)")
    parser.add_argument("--prompts", type=int, default=300, help="requests at each look (300)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "experiments")
    args = parser.parse_args()
    file = DOCS / f"{NAME}.json"
    if not args.page:
        write_text(file, json.dumps(measure(args), indent=1) + "\n")
    page(json.loads(file.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
