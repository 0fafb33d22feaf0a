"""Our pairwise reward model's step against TRL's RewardTrainer: same model, LoRA, head, pairs and batch, in turns.

    python bench/reward.py --rival-python PATH --steps 8

Both start from the same weights, adapters and head, so the first loss is the same but for rounding. Our head is fp32 on
any model, TRL's has the model's dtype: `--dtype float32` shows that the two compute the same. TRL runs twice: with our
choices (adapters in bf16, no autocast, activations kept) and at its defaults. The last line is a JSON list; ratio > 1
means that ours is faster.
"""

from __future__ import annotations

from typing import Any

from dpo import pair_groups, pair_rows
from ours import Step, load_job, prepare, settings_of, take_steps
from rows import pairs_like_hh
from shapes import model_folder
from sides import SIDES, arguments, job_of, take_turns
from table import last_line, report

RATE = 1e-4


def worker(job: dict[str, Any]) -> None:
    """Our side: an optimiser step per `go`."""
    from charter.training.methods.reward import RewardObjective, RewardSettings

    ours = prepare(job, settings_of(RewardSettings, job), rewards=True)
    objective = RewardObjective({}, {}, {})
    take_steps(job, pair_groups(job["rows"]), lambda number, batch: Step(*ours.step(objective, batch, number)))


def main() -> None:
    args = arguments(__doc__)
    if args.worker:
        return worker(load_job(args.worker))
    count = (args.warmup + args.steps) * args.batch
    groups, source = pairs_like_hh(count, args.max_length, args.seed, args.synthetic)
    job = job_of(args, "reward", pair_rows(groups), model_folder(args.model), learning_rate=RATE)
    running, product = take_turns(__file__, args, job, SIDES)
    last_line(report("reward step", args, running, product, source, head_tokens=0))


if __name__ == "__main__":
    main()
