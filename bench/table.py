"""From the steps of the sides to a table, the bound that the tokens imply, and the JSON of a bench's last line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sides import Side

from charter.training.layout import Group


@dataclass(frozen=True)
class Shape:
    """The sizes that a step's floating-point operations follow from: weights of the body's matrices, of the head, of
    the adapters."""

    body: int
    head: int
    adapter: int

    def flops(self, step: Seen, head_tokens: float, head_forward_tokens: float) -> float:
        """Matrix-product operations of a LoRA step: forward, and backward to activations and adapters.

        head_tokens, head_forward_tokens: completion tokens whose log-probs are needed with a gradient, and without.
        Attention's own products are left out (about 3%); so is what checkpointing computes twice, and a head on
        positions that need none: this is the work that the step asks for, not what was done.
        """
        body = self.body * (2 * step.slots + step.forward_slots) + 3 * self.adapter * step.slots
        return 2 * (body + self.head * (2 * head_tokens + head_forward_tokens))


@dataclass(frozen=True)
class Seen:
    """A side over its timed steps: medians of seconds and of seconds per token, means of tokens, the most memory.

    tokens: as the data has them, a prompt once for each of its completions.  slots, forward_slots: positions that went
    through the model, padding among them, with a backward pass and without.
    """

    seconds: float
    per_token: float
    tokens: float
    slots: float
    forward_slots: float
    peak_gb: float
    above_rest_gb: float
    losses: tuple[float, ...]

    @property
    def work(self) -> float:
        """Passes of one token through the body, per token of the data: backward to activations costs a forward."""
        return (2 * self.slots + self.forward_slots) / self.tokens


def seen(side: Side, warmup: int) -> Seen:
    """What a side did once it was warm; its losses from the start. Memory counts from the first step."""
    timed = side.steps[warmup:]
    rest = side.hello["resting_gb"]
    most = max(step["peak_gb"] for step in side.steps)

    def mean(name: str) -> float:
        return statistics.mean(step[name] for step in timed)

    return Seen(
        seconds=statistics.median(step["seconds"] for step in timed),
        per_token=statistics.median(step["seconds"] / step["tokens"] for step in timed),
        tokens=mean("tokens"),
        slots=mean("slots"),
        forward_slots=mean("forward_slots"),
        peak_gb=most,
        above_rest_gb=most - rest,
        losses=tuple(round(step["loss"], 6) for step in side.steps),
    )


def ratio(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> float:
    """Median over turns of theirs / ours in seconds per token: each turn's two steps ran next to each other."""
    turns = zip(ours, theirs, strict=True)
    return statistics.median((b["seconds"] / b["tokens"]) / (a["seconds"] / a["tokens"]) for a, b in turns)


def completion_tokens(groups: Sequence[Group], args: argparse.Namespace) -> float:
    """Completion tokens of a timed step, in the mean."""
    timed = groups[args.warmup * args.batch :]
    return sum(len(one) for group in timed for one in group.completions) / args.steps


def report(
    name: str,
    args: argparse.Namespace,
    running: dict[str, Side],
    product: float,
    source: str,
    *,
    head_tokens: float,
    head_forward_tokens: float = 0.0,
) -> list[dict[str, Any]]:
    """Print the tables of one bench; returns the objects for its last line, the first side being ours."""
    sides = {side: seen(worker, args.warmup) for side, worker in running.items()}
    first = next(iter(running))
    shape = Shape(*running[first].hello["shape"])
    versions = rival_versions(running)
    print(f"\n{name}: {source}; {args.batch} rows a step, {args.steps} steps timed; {versions}")
    print(f"bf16 product of 2048 x 2048 matrices in this run: {product:.0f} GFLOP/s\n")
    print(
        "| side | s/step | ms/token | tokens | run, with padding | run, forward only | GFLOP/s | of the product "
        "| peak GB | above rest GB | first loss | last loss |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    shares = {}
    for side, s in sides.items():
        scale = s.tokens / sides[first].tokens  # packed batches differ: the head's work goes with the tokens
        rate = shape.flops(s, scale * head_tokens, scale * head_forward_tokens) / s.seconds / 1e9
        shares[side] = rate / product
        print(
            f"| {side} | {s.seconds:.2f} | {1e3 * s.per_token:.2f} | {s.tokens:.0f} | {s.slots:.0f} "
            f"| {s.forward_slots:.0f} | {rate:.0f} | {rate / product:.0%} | {s.peak_gb:.2f} | {s.above_rest_gb:.2f} "
            f"| {s.losses[0]:.4f} | {s.losses[-1]:.4f} |"
        )
    print("\n| against | times faster | of which fewer tokens run | memory above rest, ours / theirs |")
    print("|---|---|---|---|")
    lines = []
    for side in list(running)[1:]:
        ours, theirs = sides[first], sides[side]
        faster = ratio(running[first].steps[args.warmup :], running[side].steps[args.warmup :])
        bound = theirs.work / ours.work
        memory = ours.above_rest_gb / theirs.above_rest_gb
        print(f"| {side} | {faster:.2f} | {bound:.2f} | {memory:.2f} |")
        lines.append({
            "name": f"{name}, {side}", "ratio": round(faster, 3), "ours": 1e3 * ours.per_token,
            "theirs": 1e3 * theirs.per_token, "unit": "ms/token", "pairs": args.steps, "bound": round(bound, 3),
            "memory": round(memory, 3), "seconds": [ours.seconds, theirs.seconds],
            "tokens_run": [ours.slots + ours.forward_slots, theirs.slots + theirs.forward_slots],
            "peak_gb": [ours.peak_gb, theirs.peak_gb], "above_rest_gb": [ours.above_rest_gb, theirs.above_rest_gb],
            "of_product": [shares[first], shares[side]], "losses": [ours.losses, theirs.losses],
            "product_gflops": round(product), "run": run_facts(args, source, versions),
        })  # fmt: skip
    return lines


def rival_versions(running: dict[str, Side]) -> str:
    """What the rival's workers said that they run."""
    return str(next(side.hello["versions"] for side in running.values() if "versions" in side.hello))


def last_line(lines: Sequence[dict[str, Any]]) -> None:
    """What scripts read."""
    print()
    print(json.dumps(lines))


def run_facts(args: argparse.Namespace, source: str, rival: str) -> dict[str, Any]:
    """What a number is worth nothing without."""
    import torch
    import transformers

    import charter

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "threads": args.threads or torch.get_num_threads(),
        "versions": f"charter {charter.__version__}, transformers {transformers.__version__}, torch "
        f"{torch.__version__}; {rival}",
        "model": Path(args.model).name, "data": source, "dtype": args.dtype, "batch": args.batch,
        "longest": args.max_length, "warmup": args.warmup, "seed": args.seed,
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
