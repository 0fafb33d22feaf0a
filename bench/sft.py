"""Our SFT step against TRL's SFTTrainer: same model, LoRA, rows and batch, in turns within one run.

    python bench/sft.py --rival-python PATH --steps 8 --batch 16

Only the completion's tokens are trained on all sides. TRL runs three times: with our choices (adapters in bf16, no
autocast, activations kept), the same with its packing (sequences as long as our batches, so other batches: its losses
are not ours), and at its defaults. Ratios are of seconds per token that is not padding. The last line is a JSON list;
ratio > 1 means that ours is faster.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from ours import ALPHA, RANK, prepare, take_steps
from sides import Shape, arguments, medians, pairs_like_hh, rival_python, take_turns

RATE = 2e-4


def worker(job: dict[str, Any]) -> None:
    """Our side: an optimiser step per `go`."""
    from charter.training.layout import Group
    from charter.training.methods.sft import SftObjective, SftSettings

    ours = prepare(job, SftSettings(learning_rate=RATE, warmup=0, schedule="constant", batch_size=job["batch"]))
    groups = [
        Group(str(i), tuple(ids[: mask.index(1)]), (tuple(ids[mask.index(1) :]),))
        for i, (ids, mask) in enumerate((r["input_ids"], r["completion_mask"]) for r in job["rows"])
    ]
    objective = SftObjective({g.key: 1.0 for g in groups})
    take_steps(job, groups, lambda number, batch: ours.step(objective, batch, number, job["steps"]))


def main() -> None:
    args = arguments(__doc__)
    if args.worker:
        return worker(json.loads(Path(args.worker).read_text()))
    from charter.models.smollm2 import smollm2_folder

    args.rival = rival_python(args.rival_python)
    steps = args.warmup + args.steps
    groups, source = pairs_like_hh(steps * args.batch, args.max_length, args.seed, args.synthetic)
    rows = [
        {
            "input_ids": g.prompt + g.completions[0],
            "completion_mask": [0] * len(g.prompt) + [1] * len(g.completions[0]),
        }
        for g in groups
    ]
    tokens = sum(len(r["input_ids"]) for r in rows)
    job = {"method": "sft", "model": str(smollm2_folder()), "rows": rows, "batch": args.batch, "steps": steps,
           "r": RANK, "alpha": ALPHA, "learning_rate": RATE,
           "max_length": args.max_length, "packing": False}  # fmt: skip
    packed = {"packing": True, "batch": 1, "max_length": tokens // steps}
    sides = {
        "charter": {"ours": True},
        "TRL, our choices": {"defaults": False},
        "TRL, our choices, packed": {"defaults": False, **packed},
        "TRL, its defaults": {"defaults": True},
    }
    running, rates = take_turns(__file__, args, job, sides)
    peak = statistics.median(rates)
    shape = Shape(*running["charter"].hello["shape"])
    trained = sum(len(g.completions[0]) for g in groups) / tokens
    versions = running["TRL, our choices"].hello["versions"]
    print(f"\n{source}; {args.batch} rows a step, {args.steps} steps timed; {versions}")
    print(f"bf16 product of 2048 x 2048 matrices in this run: {peak:.0f} GFLOP/s\n")
    print(
        "| side | s/step | tokens | with padding | ms/token | GFLOP/s | of the product | peak GB | first loss | last |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    lines = []
    per_token = {
        name: [s["seconds"] / s["tokens"] for s in side.steps[args.warmup :]] for name, side in running.items()
    }
    for name, side in running.items():
        m = medians(side, args.warmup)
        rate = shape.flops(m["slots"], trained * m["tokens"], reference=False) / m["seconds"] / 1e9
        cost = statistics.median(per_token[name])
        print(
            f"| {name} | {m['seconds']:.2f} | {m['tokens']:.0f} | {m['slots']:.0f} | {cost * 1e3:.2f} | {rate:.0f} "
            f"| {rate / peak:.0%} | {m['peak_gb']:.2f} | {m['first_loss']:.4f} | {m['last_loss']:.4f} |"
        )
        if name != "charter":
            turns = [b / a for a, b in zip(per_token["charter"], per_token[name], strict=True)]
            ours = statistics.median(per_token["charter"])
            lines.append({"name": f"sft step, {name}", "ratio": statistics.median(turns), "ours": ours * 1e3,
                          "theirs": cost * 1e3, "unit": "ms/token", "pairs": args.steps})  # fmt: skip
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
