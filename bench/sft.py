"""Our SFT step against TRL's SFTTrainer: same model, LoRA, rows and batch, in turns within one run.

    python bench/sft.py --rival-python PATH --steps 8 --batch 16

Only the completion's tokens are trained on all sides. TRL runs three times: with our choices (adapters in bf16, no
autocast, activations kept), the same with its packing (sequences as long as our batches, so other batches: its losses
are not ours), and at its defaults. Ratios are of seconds per token that is not padding. The last line is a JSON list;
ratio > 1 means that ours is faster.
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

RATE = 2e-4


def worker(job: dict[str, Any]) -> None:
    """Our side: an optimiser step per `go`."""
    from charter.training.methods.likelihood import SftObjective
    from charter.training.methods.sft import SftSettings

    ours = prepare(job, settings_of(SftSettings, job))
    groups = answer_groups(job["rows"])
    objective = SftObjective({group.key: 1.0 for group in groups})
    take_steps(job, groups, lambda number, batch: Step(*ours.step(objective, batch, number)))


def answer_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Each completion with its prompt, as TRL's SFTTrainer has them once tokenised."""
    return [
        {"input_ids": group.prompt + one, "completion_mask": [0] * len(group.prompt) + [1] * len(one)}
        for group in groups
        for one in group.completions
    ]


def answer_groups(rows: Sequence[dict[str, Any]]) -> list[Group]:
    """And back: one completion a group."""
    split = [(row["input_ids"], row["completion_mask"].index(1)) for row in rows]
    return [Group(f"{i:06}", tuple(ids[:at]), (tuple(ids[at:]),)) for i, (ids, at) in enumerate(split)]


def main() -> None:
    args = arguments(__doc__, batch=16)
    if args.worker:
        return worker(load_job(args.worker))
    steps = args.warmup + args.steps
    pairs, source = pairs_like_hh(steps * args.batch, args.max_length, args.seed, args.synthetic)
    groups = [Group(pair.key, pair.prompt, pair.completions[:1]) for pair in pairs]
    tokens = sum(group.length for group in groups)
    job = job_of(args, "sft", answer_rows(groups), model_folder(args.model), learning_rate=RATE, packing=False)
    packed = {"packing": True, "batch": 1, "max_length": tokens // steps}
    sides: dict[str, dict[str, Any]] = {**SIDES, "TRL, our choices, packed": {"defaults": False, **packed}}
    running, product = take_turns(__file__, args, job, sides)
    last_line(report("sft step", args, running, product, source, head_tokens=completion_tokens(groups, args)))


if __name__ == "__main__":
    main()
