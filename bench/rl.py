"""Our GRPO step (rollout and update) against TRL's GRPOTrainer without vLLM; our rollout against transformers' own.

    python bench/rl.py --rival-python PATH                 # the step, groups of 8, prompts of hh
    python bench/rl.py --rival-python PATH --part rollout  # sampled tokens a second, mixed lengths
    python bench/rl.py --rival-python PATH --part curves   # both, over group size and length of the prompts

Same model, adapters of the same form (theirs fresh too), prompts, samples a prompt, cut, temperature, reward (how many
different characters), KL of the reference in the loss. Each side samples its own tokens, so lengths differ by chance:
ratios are of seconds per sampled token, of neighbouring turns. TRL runs with our choices (adapters in bf16, no
autocast, activations kept), with those and transformers' continuous batching, and at its defaults. The last line is a
JSON list; ratio > 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generation import WORDS
from ours import load_job
from resident import GB, peak, resting
from rows import HH
from shapes import model_folder
from sides import Side, arguments, job_of, take_turns
from table import last_line, ratio, rival_versions, run_facts

RIVAL = str(Path(__file__).with_name("rl_rival.py"))
RATE, BETA = 5e-5, 0.04
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
STEP_SIDES: dict[str, dict[str, Any]] = {
    "charter": {"ours": True},
    "TRL, our choices": {"defaults": False},
    "TRL, continuous batching": {"defaults": False, "continuous": True},
    "TRL, its defaults": {"defaults": True},
}
ROLLOUT_SIDES: dict[str, dict[str, Any]] = {
    "charter": {"ours": True},
    "generate": {"continuous": False},
    "continuous batching": {"continuous": True},
}
GROUPS, LENGTHS = (2, 4, 8, 16), (16, 64, 256)

Messages = list[dict[str, str]]


def hh_prompts(count: int, longest: int, seed: int) -> tuple[list[Messages], str]:
    """(requests of people to an assistant, where they are from); in hh's absence, words of like number."""
    drawn = random.Random(seed)
    if not HH.exists():
        return [words(drawn, round(drawn.lognormvariate(2.8, 0.8))) for _ in range(count)], "words of hh-like numbers"
    from charter.errors import UserError
    from charter.feedback.formats import preference_of
    from charter.records import read_jsonl

    found: list[Messages] = []
    rows = [(number, row) for number, row in read_jsonl(HH)]
    drawn.shuffle(rows)
    for number, row in rows:
        try:
            pair = preference_of(row, f"line {number}", str(number))
        except UserError:
            continue
        said = [{"role": m.role, "content": m.content} for m in pair.prompt]
        if sum(len(m["content"].split()) for m in said) <= longest and said not in found:
            found.append(said)
        if len(found) == count:
            break
    return found, "hh-rlhf harmless"


def words(drawn: random.Random, count: int) -> Messages:
    """A request of so many words."""
    return [{"role": "user", "content": "Tell me about: " + " ".join(drawn.choices(WORDS, k=max(count, 1)))}]


def mixed(drawn: random.Random, count: int) -> list[Messages]:
    """Requests of 4 to 250 words, log-uniform: most short, some long."""
    return [words(drawn, round(4 * 62 ** drawn.random())) for _ in range(count)]


def letters(row: Any) -> float:
    """How many different characters a completion has."""
    return float(len(set(row.completion)))


def worker(job: dict[str, Any]) -> None:
    """Our side: a step of the training loop, or its rollout alone, per `go`."""
    import torch

    from charter.models.lora import LoraSettings
    from charter.records import Message, Prompt
    from charter.training.devices import here
    from charter.training.logprobs import CompletionLogprobs
    from charter.training.loop import _step
    from charter.training.methods.grpo import GrpoSettings, method_of
    from charter.training.methods.policy_gradient import PolicyUpdates
    from charter.training.optimizer import MasterAdamW
    from charter.training.policy import trainable_policy
    from charter.training.reference import StartWeights
    from charter.training.reward_sources import FunctionReward
    from charter.training.rollouts import Rollouts, usable_prompts

    torch.manual_seed(0)
    settings = GrpoSettings.model_validate(
        {"batch_size": job["batch"], "samples": job["group"], "sample_tokens": job["sample_tokens"],
         "beta": job["beta"], "max_tokens": 4096, "row_tokens": job["row_tokens"],
         "learning_rate": job["learning_rate"], "warmup": 0,
         "schedule": "constant", "reward": [{"function": "rl:letters"}]}
    )  # fmt: skip
    policy = trainable_policy(job["model"], LoraSettings(r=job["r"], alpha=job["alpha"]), 0)
    policy.model.to(getattr(torch, job["dtype"]))
    asked = [
        Prompt(f"{i:06}", tuple(Message(m["role"], m["content"]) for m in messages))
        for i, messages in enumerate(job["rows"])
    ]
    prompts, dropped = usable_prompts(policy, asked, settings, "bench")
    if dropped:
        raise SystemExit(f"prompts cannot be used: {dict(dropped)}")
    forward = CompletionLogprobs(policy.model)
    with tempfile.TemporaryDirectory() as folder:
        rollouts = Rollouts(policy, prompts, FunctionReward("letters", letters), settings, Path(folder))
        source = PolicyUpdates(rollouts, forward, StartWeights(policy.model), settings, method_of(settings))
        forward.train()
        rest = resting(policy.model) / GB
        trained = [p for p in forward.parameters() if p.requires_grad]
        optimizer = MasterAdamW(trained, betas=settings.betas, eps=settings.eps, weight_decay=0.0)
        print(json.dumps({"about": f"adapters {job['dtype']}, fp32 masters", "resting_gb": rest}), flush=True)
        for number in range(job["steps"]):
            if sys.stdin.readline().strip() != "go":
                return
            begun = time.perf_counter()
            if job["part"] == "step":
                batch = source.batch(number)
                values, _ = _step(
                    forward, batch.objective, batch.groups, optimizer, settings, number, job["steps"], here()
                )
                told = {**batch.values, **values}
            else:
                told = {**rollouts.draw(number)[1], "loss": 0.0}
            seconds = time.perf_counter() - begun
            line = {"seconds": seconds, "rollout": told["seconds_rollout"], "tokens": told["sampled_tokens"]}
            gap = {name: told[name] for name in ("logprob_gap", "kl") if name in told}
            print(json.dumps({**line, "loss": told["loss"], "peak_gb": peak() / GB, **gap}), flush=True)


def as_drawn(rows: Sequence[Messages], batch: int) -> list[Messages]:
    """The prompts in the order in which a run's first epoch takes them: the rival gets them so."""
    from charter.training.settings import TrainSettings
    from charter.training.source import in_turn

    settings = TrainSettings(batch_size=batch)
    return [one for step in range(len(rows) // batch) for one in in_turn(rows, settings, step)]


def measure(
    args: argparse.Namespace,
    part: str,
    rows: Sequence[Messages],
    group: int,
    sides: dict[str, dict[str, Any]],
    title: str,
) -> tuple[dict[str, Side], float]:
    """The sides' turns on those prompts, `args.batch` a turn."""
    job = job_of(
        args, "grpo", as_drawn(rows, args.batch), model_folder(args.model), part=part, group=group, beta=BETA,
        sample_tokens=args.sample_tokens, learning_rate=RATE, targets=TARGETS,
    )  # fmt: skip
    own = {name: {**side, "rows": rows} if side.get("ours") else side for name, side in sides.items()}
    return take_turns(__file__, args, job, own, title, RIVAL)


def lines(
    name: str, args: argparse.Namespace, running: dict[str, Side], source: str, group: int, product: float
) -> list[dict[str, Any]]:
    """A table on the screen, and the objects for the last line."""
    ours, *others = running.values()
    versions = rival_versions(running)
    print(f"\n{name}: {source}; {args.batch} prompts x {group} samples a turn, {args.steps} turns timed; {versions}\n")
    print("| side | s/turn | of which rollout | tokens sampled | tokens/s of the rollout | peak GB |")
    print("|---|---|---|---|---|---|")
    for side in running.values():
        seconds, rollout, tokens, rate = told(side, args.warmup)
        most = max(step["peak_gb"] for step in side.steps)
        print(f"| {side.name} | {seconds:.2f} | {rollout:.2f} | {tokens:.0f} | {rate:.0f} | {most:.2f} |")
    gaps = [step["logprob_gap"] for step in ours.steps if "logprob_gap" in step]
    found = []
    for other in others:
        timed = ours.steps[args.warmup :], other.steps[args.warmup :]
        faster = ratio(*timed)
        turns = [ratio([a], [b]) for a, b in zip(*timed, strict=True)]
        print(f"{name} against {other.name}: {faster:.2f} times faster ({min(turns):.2f} to {max(turns):.2f})")
        mine, theirs = told(ours, args.warmup), told(other, args.warmup)
        found.append({
            "name": f"{name}, {other.name}", "ratio": round(faster, 3), "ours": 1e3 * mine[0] / mine[2],
            "theirs": 1e3 * theirs[0] / theirs[2], "unit": "ms/sampled token", "pairs": args.steps,
            "range": [round(min(turns), 3), round(max(turns), 3)], "seconds": [mine[0], theirs[0]],
            "rollout_seconds": [mine[1], theirs[1]], "tokens_per_second": [mine[3], theirs[3]], "group": group,
            "sample_tokens": args.sample_tokens, "logprob_gap": statistics.fmean(gaps) if gaps else None,
            "product_gflops": round(product), "run": run_facts(args, source, versions),
        })  # fmt: skip
    return found


def told(side: Side, warmup: int) -> tuple[float, float, float, float]:
    """(seconds a turn, seconds of its rollout, tokens sampled, tokens a second of the rollout): medians and means."""
    timed = side.steps[warmup:]
    return (
        statistics.median(step["seconds"] for step in timed),
        statistics.median(step["rollout"] for step in timed),
        statistics.fmean(step["tokens"] for step in timed),
        statistics.median(step["tokens"] / step["rollout"] for step in timed),
    )


def curves(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Step and rollout over group size at prompts of hh, and over prompt length at the usual group."""
    turns = (args.warmup + args.steps) * args.batch
    drawn = random.Random(args.seed)
    asked, source = hh_prompts(turns, args.longest, args.seed)
    points = [(f"group {group}", asked, source, group) for group in GROUPS]
    for n in LENGTHS:
        points.append((f"prompt {n}", [words(drawn, n) for _ in range(turns)], f"prompts of {n} words", args.group))
    found = []
    for title, rows, where, group in points:
        for part, sides, rivals in (
            ("step", STEP_SIDES, ("charter", "TRL, our choices")),
            ("rollout", ROLLOUT_SIDES, ("charter", "generate", "continuous batching")),
        ):
            chosen = {name: sides[name] for name in rivals}
            running, product = measure(args, part, rows, group, chosen, f"{part}, {title}")
            found += lines(f"grpo {part} at {title}", args, running, where, group, product)
    return found


def options(parser: argparse.ArgumentParser) -> None:
    """What this bench has of its own."""
    parser.add_argument("--part", choices=("step", "rollout", "curves"), default="step")
    parser.add_argument("--group", type=int, default=8, help="samples of each prompt (8)")
    parser.add_argument("--sample-tokens", type=int, default=64, help="where completions are cut (64)")
    parser.add_argument("--longest", type=int, default=150, help="words of hh's prompts at most (150)")
    parser.add_argument("--sides", nargs="+", help="only these, charter first")


def main() -> None:
    args = arguments(__doc__, steps=5, batch=4, more=options)
    if args.worker:
        return worker(load_job(args.worker))
    if args.part == "curves":
        return last_line(curves(args))
    count = (args.warmup + args.steps) * args.batch
    if args.part == "step":
        rows, source = hh_prompts(count, args.longest, args.seed)
        sides, name = STEP_SIDES, "grpo step"
    else:
        rows, source = mixed(random.Random(args.seed), count), "requests of 4 to 250 words"
        sides, name = ROLLOUT_SIDES, "grpo rollout"
    chosen = {side: how for side, how in sides.items() if not args.sides or side in args.sides}
    running, product = measure(args, args.part, rows, args.group, chosen, name)
    last_line(lines(name, args, running, source, args.group, product))


if __name__ == "__main__":
    main()
