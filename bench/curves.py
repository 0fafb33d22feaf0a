"""Seconds per step of ours and of TRL's, as curves: against the prompt's share, completions per prompt, model size.

    python bench/curves.py --rival-python PATH

All on random Llamas with a vocabulary of 16k and random tokens, TRL with our choices (adapters in bf16, no autocast,
activations kept).
- share: DPO on 4 pairs with completions of 64 tokens; prompts from 0 (one token) to 90% of prompt + completion.
- completions: SFT on 16 answers of 64 tokens to prompts of 192, which are answers to 16, 8, 4 or 2 prompts. TRL has a
  row for each answer with its prompt, so its work stays the same; the loss is the same on both sides.
- size: DPO on 4 pairs, prompts of 192 tokens and completions of 64, three sizes of model.

Sides take turns at every point; a finished curve is kept under build/bench/curves, so an interrupted run continues
(`--again` measures anew). Writes docs/bench/curves.json and docs/bench/curves.svg; the last line is a JSON list.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from curves_chart import draw
from dpo import BETA, pair_rows
from dpo import RATE as DPO_RATE
from dpo import worker as dpo_worker
from ours import Step, load_job, prepare, settings_of, take_steps
from rows import ROOT, random_ids
from sft import RATE as SFT_RATE
from sft import answer_groups, answer_rows
from shapes import LlamaShape, random_llama
from sides import Side, arguments, job_of, take_turns
from table import last_line, ratio, rival_versions, run_facts

from charter.training.layout import Group

ANSWER, PROMPT, PAIRS, ANSWERS = 64, 192, 4, 16
# With a large one the head outweighs so small a body, as it does in no model that people train.
VOCABULARY = 16_384
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
COMPLETIONS = (1, 2, 4, 8)
KEPT = ROOT / "build" / "bench" / "curves"
DOCS = ROOT / "docs" / "bench"


@dataclass(frozen=True)
class Point:
    """One place on a curve: what stands on the axis, and the groups of a step there."""

    x: str
    prompts: int
    prompt: int
    completions: int

    def groups(self, drawn: random.Random) -> list[Group]:
        """A batch of random tokens."""

        def ids(size: int) -> tuple[int, ...]:
            return random_ids(drawn, size, VOCABULARY)

        return [
            Group("", ids(self.prompt), tuple(ids(ANSWER) for _ in range(self.completions)))
            for _ in range(self.prompts)
        ]


@dataclass(frozen=True)
class Part:
    """Points that one pair of workers runs."""

    curve: str
    method: str
    shape: LlamaShape
    points: tuple[Point, ...]


def parts(shapes: Sequence[LlamaShape]) -> Iterator[Part]:
    """All that is measured; the curve of sizes takes a pair of workers for each."""
    shares = [Point(f"{share:.0%}", PAIRS, max(1, round(ANSWER * share / (1 - share))), 2) for share in SHARES]
    yield Part("share", "dpo", shapes[1], tuple(shares))
    counts = [Point(str(k), ANSWERS // k, PROMPT, k) for k in COMPLETIONS]
    yield Part("completions", "sft", shapes[1], tuple(counts))
    for shape in shapes:
        yield Part("size", "dpo", shape, (Point(f"{shape.hidden} x {shape.layers}", PAIRS, PROMPT, 2),))


def merged(batch: Sequence[Group]) -> list[Group]:
    """Neighbours that answer one prompt as one group."""
    runs = [list(run) for _, run in groupby(batch, key=lambda group: group.prompt)]
    return [Group(run[0].key, run[0].prompt, tuple(one for g in run for one in g.completions)) for run in runs]


def worker(job: dict[str, Any]) -> None:
    """Our side; SFT with the answers to a prompt in one group."""
    if job["method"] == "dpo":
        return dpo_worker(job)
    from charter.training.methods.likelihood import SftObjective
    from charter.training.methods.sft import SftSettings

    ours = prepare(job, settings_of(SftSettings, job))
    groups = answer_groups(job["rows"])
    objective = SftObjective({group.key: 1.0 for group in groups})
    take_steps(job, groups, lambda number, batch: Step(*ours.step(objective, merged(batch), number)))


def measure(args: argparse.Namespace, part: Part) -> dict[str, Any]:
    """The part's points: seconds of both sides, ratio, and the bound that the tokens run imply."""
    drawn = random.Random(args.seed)
    turns = args.warmup + args.steps
    steps = [point.groups(drawn) for _ in range(turns) for point in part.points]
    groups = [group for step in steps for group in step]
    rows = pair_rows(groups) if part.method == "dpo" else answer_rows(groups)
    args.model, args.batch = part.shape.name, PAIRS if part.method == "dpo" else ANSWERS
    rate = DPO_RATE if part.method == "dpo" else SFT_RATE
    job = job_of(args, part.method, rows, random_llama(part.shape), beta=BETA, learning_rate=rate, packing=False)
    sides = {"charter": {"ours": True}, "TRL": {"defaults": False}}
    running, _ = take_turns(__file__, args, job | {"steps": len(steps)}, sides, f"{part.curve}, {part.shape.name}")
    found = [point_found(args, part, place, running) for place in range(len(part.points))]
    return {"points": found, "run": run_facts(args, "random tokens", rival_versions(running))}


def point_found(args: argparse.Namespace, part: Part, place: int, running: dict[str, Side]) -> dict[str, Any]:
    """What the sides did at one point, over its turns."""
    every = len(part.points)
    ours, theirs = ([s.steps[i] for i in range(place, len(s.steps), every)] for s in running.values())
    bound = [statistics.mean(2 * s["slots"] + s["forward_slots"] for s in side) for side in (ours, theirs)]
    timed = ours[args.warmup :], theirs[args.warmup :]
    seconds = [statistics.median(s["seconds"] for s in side) for side in timed]
    return {
        "curve": part.curve, "x": part.points[place].x, "model": part.shape.name, "ours": seconds[0],
        "theirs": seconds[1], "ratio": round(ratio(*timed), 3), "bound": round(bound[1] / bound[0], 3),
        "tokens": [ours[0]["slots"], theirs[0]["slots"]], "losses": [[s["loss"] for s in x] for x in (ours, theirs)],
    }  # fmt: skip


def kept(args: argparse.Namespace, part: Part) -> dict[str, Any]:
    """The part as measured before with the same settings, or now."""
    settings = f"{args.steps}-{args.warmup}-{args.threads}-{args.dtype}-{args.row_tokens}-{args.seed}"
    file = KEPT / f"{part.curve}-{part.shape.name}-{settings}.json"
    if args.again or not file.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(measure(args, part)))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def options(parser: argparse.ArgumentParser) -> None:
    """What this bench has of its own."""
    parser.add_argument("--again", action="store_true", help="measure anew what is kept")
    parser.add_argument("--shapes", nargs=3, default=["256x6", "384x12", "576x30"], metavar="HIDDENxLAYERS")
    parser.add_argument("--out", default=str(DOCS), help="folder of the JSON and the chart")


def main() -> None:
    args = arguments(__doc__, steps=3, more=options)
    if args.worker:
        return worker(load_job(args.worker))
    shapes = [LlamaShape(*map(int, shape.split("x")), VOCABULARY) for shape in args.shapes]
    measured = [kept(args, part) for part in parts(shapes)]
    points = [point for part in measured for point in part["points"]]
    print("\n| curve | at | model | charter s/step | TRL s/step | times faster | of which fewer tokens run |")
    print("|---|---|---|---|---|---|---|")
    for p in points:
        print(
            f"| {p['curve']} | {p['x']} | {p['model']} | {p['ours']:.3f} | {p['theirs']:.3f} | {p['ratio']:.2f} "
            f"| {p['bound']:.2f} |"
        )
    draw(args.out, points, measured[0]["run"])
    last_line([
        {"name": f"curve {p['curve']} at {p['x']}", **{key: p[key] for key in ("ratio", "ours", "theirs", "bound")},
         "unit": "s/step", "pairs": args.steps, "model": p["model"], "run": part["run"]}
        for part in measured for p in part["points"]
    ])  # fmt: skip


if __name__ == "__main__":
    main()
