"""Our KTO step against TRL's KTOTrainer: same model, LoRA, rows, batches and mismatched rows, in turns within one run.

    python bench/kto.py --rival-python PATH --steps 8 --batch 16

Rows are single completions, good and bad in turn, each of a prompt of its own. Both estimate the KL on the batch's
prompts with the completions passed on by one. Each step includes the reference's log-probs of the rows and of the
mismatched rows: TRL computes them with the adapter off, and so do we here, though a real run does it once ahead. The
first loss is 0.5 on both, as nothing has moved; the later ones are to agree. TRL runs twice: with our choices (adapters
in bf16, no autocast, activations kept) and at its defaults. The last line is a JSON list; ratio > 1 means that ours is
faster.
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
    from charter.training.methods.kto import KtoObjective, KtoSettings, mismatched

    ours = prepare(job, settings_of(KtoSettings, job, beta=job["beta"]))
    groups = [
        Group(f"{i:06}", tuple(row["prompt_ids"]), (tuple(row["completion_ids"]),)) for i, row in enumerate(job["rows"])
    ]
    good = {group.key: row["label"] for group, row in zip(groups, job["rows"], strict=True)}

    def step(number: int, batch: Sequence[Group]) -> Step:
        strangers = mismatched(batch)
        reference = ours.reference([*batch, *strangers])
        loss, slots = ours.step(KtoObjective(reference, good, {}, job["beta"]), batch, number)
        return Step(loss, slots, ours.tokens_run([*batch, *strangers]) + ours.tokens_run(strangers))

    take_steps(job, groups, step)


def main() -> None:
    args = arguments(__doc__, batch=16)
    if args.worker:
        return worker(load_job(args.worker))
    count = (args.warmup + args.steps) * args.batch
    pairs, source = pairs_like_hh(count, args.max_length, args.seed, args.synthetic)
    groups = [Group(pair.key, pair.prompt, (pair.completions[i % 2],)) for i, pair in enumerate(pairs)]
    rows = [
        {"prompt_ids": group.prompt, "completion_ids": group.completions[0], "label": i % 2 == 0}
        for i, group in enumerate(groups)
    ]
    # Mismatched rows may be longer than any of the data's, and are cut on neither side.
    longest = 2 * args.max_length
    job = job_of(args, "kto", rows, model_folder(args.model), beta=BETA, learning_rate=RATE) | {"max_length": longest}
    running, product = take_turns(__file__, args, job, SIDES)
    predicted = completion_tokens(groups, args)
    lines = report("kto step", args, running, product, source, head_tokens=predicted, head_forward_tokens=3 * predicted)
    last_line(lines)


if __name__ == "__main__":
    main()
