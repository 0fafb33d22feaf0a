"""Reward model over-optimisation (Gao et al. 2022) in a small world: docs/experiments/overoptimization.md.

    python experiments/overoptimization.py            # about ten minutes on one core; continues where it was cut off
    python experiments/overoptimization.py --page     # the page and figure alone, from the JSON

A gold reward labels pairs of what a reference model says; proxies of three sizes learn from three numbers of pairs, by
`charter`'s own reward training. Against each proxy the best of n is chosen (exact KL), and RLOO trains the reference,
without a tether and, for one proxy, with KL penalties. The world and its models are in `world.py`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from figure import Panel, Series, draw
from pages import Claim, facts, interval, number, table, write_page
from runs import UNTETHERED, fitted, run_policy, stretches, turn_of
from world import DOCS, ROOT, Lab, Size, kept, spent, tell

from charter.records import Exchange, Preference, write_text
from charter.stats.overoptimization import best_of_n_kl, best_of_n_mean

NAME = "overoptimization"
SIZES = {"small": Size(8, 1, 2), "medium": Size(16, 1, 2), "large": Size(48, 2)}
PAIRS = (300, 1200, 4800)
MOST, PENALTIES = 64, (0.02, 0.1)
NUMBERS = tuple(2**power for power in range(7))
TETHERED = ("large", 300)
HOW: dict[str, Any] = {"batch_size": 32, "samples": 4, "learning_rate": 1e-3}
WINDOW = 4
COEFFICIENTS = ("alpha", "beta")
ENDS = ("large", "small")
LOWEST = -2.5
"""Where the panels of RL end below: a truth that has fallen further says no more."""


def proxy_facts(folder: str, pool: Sequence[Sequence[Exchange]], gold: Sequence[float]) -> dict[str, Any]:
    """What a proxy knows of samples that it has not seen, and what best of n by it gives.

    gold: of the pool's samples, in order.  correlation: with the gold reward.  accuracy: on pairs of neighbours.
    """
    from charter.training.reward_model import RewardModel

    flat = [one for own in pool for one in own]
    scores = [row.reward or 0.0 for row in RewardModel(folder, row_tokens=4096).reward(flat)]
    mean, std = statistics.fmean(scores), statistics.stdev(scores)
    right = [(a > b) == (c > d) for a, b, c, d in zip(scores[::2], scores[1::2], gold[::2], gold[1::2], strict=True)]
    size = len(pool[0])
    best = []
    for n in NUMBERS:
        own = [slice(i, i + size) for i in range(0, len(flat), size)]
        of_gold = [best_of_n_mean(scores[part], gold[part], n) for part in own]
        of_proxy = [(best_of_n_mean(scores[part], scores[part], n) - mean) / std for part in own]
        error = statistics.stdev(of_gold) / math.sqrt(len(own))
        best.append(
            {"n": n, "kl": best_of_n_kl(n), "gold": statistics.fmean(of_gold), "error": error,
             "proxy": statistics.fmean(of_proxy)}
        )  # fmt: skip
    rise = [(math.sqrt(one["kl"]), one["gold"] - best[0]["gold"]) for one in best]
    return {
        "mean": mean, "std": std, "correlation": statistics.correlation(scores, gold),
        "accuracy": statistics.fmean(right), "best_of_n": best, "fit": fitted("best_of_n", rise),
    }  # fmt: skip


def rl(lab: Lab, folder: Path, proxy: str, unit: tuple[float, float], steps: int, **more: Any) -> dict[str, Any]:
    """A run of RLOO against a proxy: its stretches, the fit, and where the truth turned."""
    found = run_policy(lab, folder, "rloo", proxy, prompts=HOW["batch_size"] * steps, **{**HOW, **more})
    points = stretches(found, WINDOW, unit)
    fit = fitted("rl", [(one.distance, one.gold - found[0].gold) for one in points])
    return {"points": [asdict(one) for one in points], "turn": asdict(turn_of(points)), "fit": fit}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    lab = Lab(args.runs / "world")
    folder: Path = args.runs / NAME
    clock = spent(folder / "seconds")
    pairs: list[Preference] = lab.preferences(max(args.pairs), 3)
    pool = lab.pool(args.pool, MOST, 9)
    gold = lab.gold([one for own in pool for one in own])
    proxies: dict[str, Any] = {}
    for size, shape in SIZES.items():
        for count in args.pairs:
            name = f"{size}-{count}"
            made = lab.proxy(shape, pairs[:count], name)
            known = kept(folder / f"proxy-{name}.json", lambda made=made: proxy_facts(made, pool, gold))
            tell(f"{name}: accuracy {known['accuracy']:.3f}; {clock():.0f} s")
            unit = known["mean"], known["std"]
            proxies[name] = {"size": size, "pairs": count, **known}
            proxies[name]["rl"] = rl(lab, folder / f"rl-{name}", made, unit, args.steps, beta=UNTETHERED)
    tethered = {}
    name = "-".join(map(str, TETHERED))
    for beta in PENALTIES:
        unit = proxies[name]["mean"], proxies[name]["std"]
        made = str(lab.folder / "proxies" / name / "model")
        tethered[str(beta)] = rl(lab, folder / f"rl-{name}-kl-{beta}", made, unit, args.steps, beta=beta)
    return {
        "facts": facts(), "seconds": clock(), "pool": [args.pool, MOST], "steps": args.steps,
        "how": HOW, "window": WINDOW, "proxies": proxies, "tethered": {"of": name, "runs": tethered},
    }  # fmt: skip


def claims(found: dict[str, Any]) -> list[Claim]:
    """Gao et al.'s claims against the numbers."""
    proxies = found["proxies"]
    turned = [name for name, one in proxies.items() if one["rl"]["turn"]["low"] > 0 and one["rl"]["turn"]["proxy_rose"]]
    most = max(found["pairs"])

    def peak(size: str, pairs: int) -> dict[str, float]:
        turn: dict[str, float] = proxies[f"{size}-{pairs}"]["rl"]["turn"]
        return turn

    def best(size: str, pairs: int) -> float:
        return float(proxies[f"{size}-{pairs}"]["best_of_n"][-1]["gold"])

    sizes = [peak(size, most) for size in SIZES]
    data = [peak("large", pairs) for pairs in found["pairs"]]
    gaps = {beta: gap(found, one) for beta, one in found["tethered"]["runs"].items()}
    near = all(one is not None and abs(one[0]) <= 0.1 for one in gaps.values())
    told = "; ".join(f"β {beta}: {interval(*one)}" for beta, one in gaps.items() if one is not None)

    def shown(turns: Sequence[dict[str, float]]) -> str:
        return ", ".join(f"{number(one['peak'])} at d {number(one['distance'], 1)}" for one in turns)

    return [
        Claim(
            "Against a learned proxy the gold reward rises, peaks and falls while the proxy rises on (RL)",
            len(turned) == len(proxies),
            f"{len(turned)} of {len(proxies)} runs fell below their peak by more than chance while the proxy rose"
            + (f": {', '.join(turned)}" if 0 < len(turned) < len(proxies) else ""),
        ),
        Claim(
            "Bigger proxies move the peak out and up (RL)",
            rising([one["peak"] for one in sizes]) and sizes[-1]["distance"] >= sizes[0]["distance"],
            f"small, medium, large with {most} pairs: {shown(sizes)}",
        ),
        Claim(
            "More data moves the peak out and up (RL)",
            rising([one["peak"] for one in data]) and data[-1]["distance"] >= data[0]["distance"],
            f"the large one with {', '.join(map(str, found['pairs']))} pairs: {shown(data)}",
        ),
        Claim(
            "Bigger proxies, and more data, gain more by best of n",
            rising([best(size, most) for size in SIZES]) and rising([best("large", pairs) for pairs in found["pairs"]]),
            f"gold of the best of {MOST}: small, medium, large with {most} pairs "
            f"{', '.join(number(best(size, most)) for size in SIZES)}; the large one with "
            f"{', '.join(map(str, found['pairs']))} pairs "
            f"{', '.join(number(best('large', pairs)) for pairs in found['pairs'])}",
        ),
        fit_claim("Best of n follows R = d(α − βd)", [one["fit"] for one in proxies.values()]),
        fit_claim("RL follows R = d(α − β log d)", [one["rl"]["fit"] for one in proxies.values()]),
        Claim(
            "A KL penalty does not move the gold–KL frontier",
            near,
            f"gold at equal d less that without a penalty, mean over the distances both reached: {told}",
        ),
    ]


def fit_claim(text: str, fits: Sequence[dict[str, Any] | None]) -> Claim:
    """Whether a form explains nine tenths of the variance everywhere."""
    known = [fit["r2"] for fit in fits if fit and fit["r2"] is not None]
    if not known:
        return Claim(text, None, "too few points for a fit")
    low, high, middle = (number(value) for value in (min(known), max(known), statistics.median(known)))
    return Claim(text, min(known) > 0.9, f"R² of the {len(known)} fits: {low} to {high}, median {middle}")


def far(fit: dict[str, Any]) -> str:
    """Where a fit peaks; beyond what was measured that is a guess, and is not told."""
    peak = fit.get("peak")
    if peak is None:
        return "none"
    return number(peak, 1) if peak <= fit["furthest"] else "beyond"


def rising(values: Sequence[float]) -> bool:
    """Whether each is larger than the one before."""
    return all(a < b for a, b in itertools.pairwise(values))


def gap(found: dict[str, Any], run: dict[str, Any]) -> tuple[float, float, float] | None:
    """Mean difference in gold reward to the untethered run at equal distance, with a 95% interval over stretches.

    The untethered run's curve is read between its stretches by straight lines; only where both have been.
    """
    free = sorted((p["distance"], p["gold"]) for p in found["proxies"][found["tethered"]["of"]]["rl"]["points"])
    apart = []
    for point in run["points"]:
        above = next((i for i, (d, _) in enumerate(free) if d >= point["distance"]), None)
        if not above:
            continue
        (d0, g0), (d1, g1) = free[above - 1], free[above]
        apart.append(point["gold"] - (g0 + (g1 - g0) * (point["distance"] - d0) / (d1 - d0)))
    if len(apart) < 3:
        return None
    half = 1.96 * statistics.stdev(apart) / math.sqrt(len(apart))
    mean = statistics.fmean(apart)
    return mean, mean - half, mean + half


def page(found: dict[str, Any]) -> None:
    """The page and its figure."""
    proxies = found["proxies"]
    most = max(found["pairs"])
    of = found["tethered"]["of"]
    draw(
        DOCS / f"{NAME}.svg",
        [
            Panel("Best of n, most pairs", "d = √KL", "reward", best_series([f"{s}-{most}" for s in SIZES], proxies)),
            Panel(f"RL, {most} pairs", "d = √KL", "reward", rl_series([f"{s}-{most}" for s in SIZES], proxies), -2.5),
            Panel(
                "RL, large proxy", "d = √KL", "reward", rl_series([f"large-{n}" for n in found["pairs"]], proxies), -2.5
            ),
            Panel(
                "Best of n, large proxy",
                "d = √KL",
                "reward",
                best_series([f"large-{n}" for n in found["pairs"]], proxies),
            ),
            Panel(
                "RL, small proxy", "d = √KL", "reward", rl_series([f"small-{n}" for n in found["pairs"]], proxies), -2.5
            ),
            Panel(f"KL penalty, {of}", "d = √KL", "gold reward", penalty_series(found)),
        ],
        "Gold and proxy reward against the square root of the KL",
    )
    rows = []
    for name, one in proxies.items():
        turn, fit, best = one["rl"]["turn"], one["rl"]["fit"] or {}, one["fit"] or {}
        rows.append(
            [name, f"{one['accuracy']:.1%}", number(one["correlation"]), number(one["best_of_n"][-1]["gold"]),
             number(best.get("r2")), number(turn["peak"]), number(turn["distance"], 1), number(turn["last"]),
             number(turn["furthest"], 1), interval(turn["fell"], turn["low"], turn["high"]), number(fit.get("r2")),
             far(fit), number(one["rl"]["points"][-1]["length"], 1)]
        )  # fmt: skip
    head = ("proxy", "pairs ranked as by gold", "correlation with gold", f"best of {MOST}: gold", "R²", "RL: peak gold",
            "at d", "gold at the end", "furthest d", "fell by (95%)", "R²", "peak of the fit",
            "words at the end")  # fmt: skip
    curves = [
        [
            name,
            *(number((fit or {}).get(key), 3) for fit in (one["fit"], one["rl"]["fit"]) for key in ("alpha", "beta")),
        ]
        for name, one in proxies.items()
    ]
    parts = [
        "Full lines: gold. Dashed: the proxy, in units of its own standard deviation over what the reference says.",
        "## Numbers",
        table(head, rows),
        "Coefficients of the fits, best of n then RL:",
        table(("proxy", "α", "β", "α", "β"), curves),
        f"How: {found['pool'][0]} prompts with {MOST} samples for best of n, whose curve is the unbiased estimate over "
        f"all sets of n. RLOO: {found['steps']} steps of {HOW['batch_size']} prompts × {HOW['samples']} samples, rate "
        f"{HOW['learning_rate']}; gold, proxy and KL are those of the samples that the run itself drew, "
        f"{found['window']} steps a point. A peak is the highest such point, so chance makes falls a little too "
        "large; the intervals count sampling alone, for one seed of the world, of the proxies and of the runs.",
    ]
    write_page(
        DOCS / f"{NAME}.md", "Reward model over-optimisation (Gao et al. 2022)", OPENING, claims(found), parts, found
    )


OPENING = """
How far a policy can be optimised against a learned reward before the truth falls:
[Gao et al. 2022](https://arxiv.org/abs/2210.10760) with models of a few thousand weights in place of billions. The
language has 32 words; the gold reward is a fixed random network on neighbouring words with a best length; the reference
(46 thousand weights) is fine-tuned on sentences. Proxies are `charter` reward models with random starts, trained on
pairs whose labels are drawn from the gold reward by Bradley and Terry's model. Rewards are in standard deviations over
what the reference says, whose mean is 0.
"""


def best_series(names: Sequence[str], proxies: dict[str, Any]) -> list[Series]:
    """Gold and proxy of the best of n."""
    found = []
    for colour, name in enumerate(names):
        best = proxies[name]["best_of_n"]
        distances = [math.sqrt(one["kl"]) for one in best]
        gold = [(d, one["gold"]) for d, one in zip(distances, best, strict=True)]
        found.append(Series(name, gold, colour, marks=True, band=[1.96 * one["error"] for one in best]))
        found.append(
            Series("", [(d, one["proxy"]) for d, one in zip(distances, best, strict=True)], colour, dashed=True)
        )
    return found


def rl_series(names: Sequence[str], proxies: dict[str, Any]) -> list[Series]:
    """Gold and proxy along a run."""
    found = []
    for colour, name in enumerate(names):
        points = proxies[name]["rl"]["points"]
        found.append(Series(name, [(p["distance"], p["gold"]) for p in points], colour))
        found.append(Series("", [(p["distance"], p["proxy"]) for p in points], colour, dashed=True))
    return found


def penalty_series(found: dict[str, Any]) -> list[Series]:
    """Gold along the runs with penalties and along the one without."""
    runs = {"no penalty": found["proxies"][found["tethered"]["of"]]["rl"], **found["tethered"]["runs"]}
    return [
        Series(
            name if name == "no penalty" else f"β {name}", [(p["distance"], p["gold"]) for p in run["points"]], colour,
            marks=True, line=False,
        )
        for colour, (name, run) in enumerate(runs.items())
    ]  # fmt: skip


def main() -> None:
    """Measure what is not measured yet, and write JSON, figure and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="only the page and the figure, from the JSON")
    parser.add_argument("--steps", type=int, default=70, help="of each RL run (70)")
    parser.add_argument("--pool", type=int, default=64, help="prompts for best of n (64)")
    parser.add_argument("--pairs", type=int, nargs="+", default=PAIRS, help="numbers of pairs (300 1200 4800)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "experiments")
    args = parser.parse_args()
    file = DOCS / f"{NAME}.json"
    if not args.page:
        found = {"pairs": list(args.pairs), **measure(args)}
        write_text(file, json.dumps(found, indent=1) + "\n")
    page(json.loads(file.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
