"""Our DPO step against TRL's DPOTrainer: same model, LoRA, pairs and batch, in turns within one run.

    python bench/dpo.py --rival-python PATH --steps 8

Both start from the same weights and adapters, so the first loss is ln 2 on both. Each step includes the reference's
log-probs of its pairs: TRL computes them with the adapter off, and so do we here, though a real run does it once ahead.
TRL runs twice: with our choices (adapters in bf16, no autocast, activations kept) and at its defaults. The last line is
a JSON list; ratio > 1 means that ours is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ours import Step, load_job, prepare, settings_of, take_steps
from rows import pairs_like_hh
from shapes import model_folder
from sides import SIDES, arguments, job_of, take_turns
from table import completion_tokens, last_line, report

from charter.training.layout import Group

BETA, RATE = 0.1, 5e-5


def worker(job: dict[str, Any]) -> None:
    """Our side: an optimiser step per `go`."""
    from charter.training.methods.dpo import DpoSettings, pair_loss
    from charter.training.methods.pairs import PairObjective

    settings = settings_of(DpoSettings, job, beta=job["beta"])
    ours = prepare(job, settings)

    def step(number: int, batch: Sequence[Group]) -> Step:
        reference = ours.reference(batch)
        loss, slots = ours.step(PairObjective(pair_loss(settings), reference), batch, number)
        return Step(loss, slots, slots)

    take_steps(job, pair_groups(job["rows"]), step)


def pair_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Pairs as TRL's DPOTrainer has them once tokenised."""
    return [{"prompt_ids": g.prompt, "chosen_ids": g.completions[0], "rejected_ids": g.completions[1]} for g in groups]


def pair_groups(rows: Sequence[dict[str, Any]]) -> list[Group]:
    """And back."""
    return [
        Group(f"{i:06}", tuple(row["prompt_ids"]), (tuple(row["chosen_ids"]), tuple(row["rejected_ids"])))
        for i, row in enumerate(rows)
    ]


def main() -> None:
    args = arguments(__doc__)
    if args.worker:
        return worker(load_job(args.worker))
    count = (args.warmup + args.steps) * args.batch
    groups, source = pairs_like_hh(count, args.max_length, args.seed, args.synthetic)
    job = job_of(args, "dpo", pair_rows(groups), model_folder(args.model), beta=BETA, learning_rate=RATE)
    running, product = take_turns(__file__, args, job, SIDES)
    predicted = completion_tokens(groups, args)
    last_line(report("dpo step", args, running, product, source, head_tokens=predicted, head_forward_tokens=predicted))


if __name__ == "__main__":
    main()
