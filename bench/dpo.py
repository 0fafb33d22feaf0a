"""Our DPO step against TRL's DPOTrainer: same model, LoRA, pairs and batch, in turns within one run.

    python bench/dpo.py --rival-python PATH --steps 8

Both start from the same weights and adapters, so the first loss is ln 2 on both. Each step includes the reference's
log-probs of its pairs: TRL computes them with the adapter off, and so do we here, though a real run does it once ahead.
TRL runs twice: with our choices (adapters in bf16, no autocast, activations kept) and at its defaults. The last line is
a JSON list; ratio > 1 means that ours is faster.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ours import ALPHA, RANK, prepare, take_steps
from sides import Shape, arguments, medians, pairs_like_hh, ratio, rival_python, take_turns

BETA, RATE = 0.1, 5e-5


def worker(job: dict[str, Any]) -> None:
    """Our side: an optimiser step per `go`."""
    import torch

    from charter.training.layout import Group, Row, pack
    from charter.training.logprobs import sum_by_completion
    from charter.training.methods.dpo import DpoSettings, pair_loss
    from charter.training.methods.pairs import PairObjective

    settings = DpoSettings(learning_rate=RATE, warmup=0, schedule="constant", beta=BETA, batch_size=job["batch"])
    ours = prepare(job, settings)
    groups = [
        Group(str(i), tuple(r["prompt_ids"]), (tuple(r["chosen_ids"]), tuple(r["rejected_ids"])))
        for i, r in enumerate(job["rows"])
    ]

    def step(number: int, batch: Sequence[Group]) -> tuple[dict[str, float], int]:
        reference: dict[str, Any] = {}
        with torch.no_grad(), ours.model.disable_adapter():
            for indices in pack(batch, settings.row_tokens):
                row = Row([batch[i] for i in indices])
                sums = sum_by_completion(ours.logprobs(row), row).view(-1, 2)
                reference |= {g.key: s for g, s in zip(row.groups, sums, strict=True)}
        return ours.step(PairObjective(pair_loss(settings), reference), batch, number, job["steps"])

    take_steps(job, groups, step)


def main() -> None:
    args = arguments(__doc__)
    if args.worker:
        return worker(json.loads(Path(args.worker).read_text()))
    from charter.models.smollm2 import smollm2_folder

    args.rival = rival_python(args.rival_python)
    steps = args.warmup + args.steps
    groups, source = pairs_like_hh(steps * args.batch, args.max_length, args.seed, args.synthetic)
    rows = [{"prompt_ids": g.prompt, "chosen_ids": g.completions[0], "rejected_ids": g.completions[1]} for g in groups]
    job = {"method": "dpo", "model": str(smollm2_folder()), "rows": rows, "batch": args.batch, "steps": steps,
           "r": RANK, "alpha": ALPHA, "beta": BETA, "learning_rate": RATE,
           "max_length": 2 * args.max_length}  # fmt: skip
    sides = {
        "charter": {"ours": True},
        "TRL, our choices": {"defaults": False},
        "TRL, its defaults": {"defaults": True},
    }
    running, rates = take_turns(__file__, args, job, sides)
    peak = sorted(rates)[len(rates) // 2]
    shape = Shape(*running["charter"].hello["shape"])
    timed = groups[args.warmup * args.batch :]
    predicted = sum(len(c) for g in timed for c in g.completions) / args.steps
    versions = running["TRL, our choices"].hello["versions"]
    print(f"\n{source}; {args.batch} pairs a step, {args.steps} steps timed; {versions}")
    print(f"bf16 product of 2048 x 2048 matrices in this run: {peak:.0f} GFLOP/s\n")
    print("| side | s/step | tokens | with padding | GFLOP/s | of the product | peak GB | first loss | last loss |")
    print("|---|---|---|---|---|---|---|---|---|")
    seen = {name: medians(side, args.warmup) for name, side in running.items()}
    for name, m in seen.items():
        rate = shape.flops(m["slots"], predicted, reference=True) / m["seconds"] / 1e9
        print(
            f"| {name} | {m['seconds']:.2f} | {m['tokens']:.0f} | {m['slots']:.0f} | {rate:.0f} | {rate / peak:.0%} "
            f"| {m['peak_gb']:.2f} | {m['first_loss']:.4f} | {m['last_loss']:.4f} |"
        )
    lines = [
        {"name": f"dpo step, {name}", "ratio": ratio(running["charter"], running[name], args.warmup),
         "ours": seen["charter"]["seconds"], "theirs": seen[name]["seconds"], "unit": "s/step", "pairs": args.steps}
        for name in list(sides)[1:]
    ]  # fmt: skip
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
