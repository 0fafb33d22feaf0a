"""What both benches share: the data, our worker, the processes that take turns, and the table."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.training.layout import Group

ROOT = Path(__file__).resolve().parent.parent
HH = ROOT.parent / "shared" / "data" / "hh-rlhf-harmless" / "dev.jsonl"
RIVAL = ["torch==2.13.0", "trl", "peft"]


def arguments(description: str | None) -> argparse.Namespace:
    """The options of both benches; `--worker` is for internal use."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival-python", help="a Python with trl; without it an environment is made under build/")
    parser.add_argument("--steps", type=int, default=8, help="timed optimiser steps a side")
    parser.add_argument("--warmup", type=int, default=1, help="steps before timing")
    parser.add_argument("--batch", type=int, default=8, help="rows per step")
    parser.add_argument("--max-length", type=int, default=512, help="longer rows are left out, for both sides")
    parser.add_argument("--synthetic", action="store_true", help="random tokens of hh-like lengths even if hh is there")
    parser.add_argument("--threads", type=int, default=0, help="processor threads of each side; 0: torch's own choice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def rival_python(given: str | None) -> str:
    """The Python that has TRL; made under build/ when none is given."""
    if given:
        return given
    folder = ROOT / "build" / "rival"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print("making an environment with TRL under build/rival (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for package in RIVAL:  # torch first and pinned, so that what follows accepts it
            subprocess.run([str(python), "-m", "pip", "install", "-q", package], check=True)
        (folder / "ready").touch()
    return str(python)


def pairs_like_hh(count: int, longest: int, seed: int, synthetic: bool) -> tuple[list[Group], str]:
    """(preference pairs as token ids, where they are from)."""
    if HH.exists() and not synthetic:
        from transformers import AutoTokenizer

        from charter.errors import UserError
        from charter.feedback.formats import preference_of
        from charter.models.smollm2 import smollm2_folder
        from charter.models.template import chat_format
        from charter.records import read_jsonl
        from charter.training.rows import preference_groups

        rows = []
        for number, row in read_jsonl(HH):
            try:
                rows.append(preference_of(row, f"line {number}", str(number)))
            except UserError:
                continue
        random.Random(seed).shuffle(rows)
        format_ = chat_format(AutoTokenizer.from_pretrained(smollm2_folder()))
        groups, _ = preference_groups(rows[: 4 * count + 50], format_, longest)
        return groups[:count], "hh-rlhf harmless"
    drawn = random.Random(seed)

    def length(median: float) -> int:
        return max(4, min(round(drawn.lognormvariate(0, 0.7) * median), longest // 3))

    def ids(size: int) -> tuple[int, ...]:
        return tuple(drawn.randrange(20, 49_000) for _ in range(size))

    made = [Group(f"row {i}", ids(length(110)), (ids(length(45)), ids(length(45)))) for i in range(count)]
    return made, "random tokens of hh-like lengths"


class Side:
    """A worker process that makes a step when told to."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        self.name = name
        self.steps: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1
        )
        self.hello = self._read()

    def step(self) -> dict[str, Any]:
        """One optimiser step: what the worker reported."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.steps.append(self._read())
        return self.steps[-1]

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the worker ended early (exit code {self._process.wait()})")
        answer: dict[str, Any] = json.loads(line)
        return answer


def take_turns(
    script: str, args: argparse.Namespace, job: dict[str, Any], sides: dict[str, dict[str, Any]]
) -> tuple[dict[str, Side], list[float]]:
    """Start a worker for each side, step them in turns; also bf16 GFLOP/s of a large product, measured in between.

    sides: by name, what of the job differs; "ours" in it says that the worker is charter's.
    """
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    if args.threads:
        import torch

        environment["OMP_NUM_THREADS"] = str(args.threads)
        torch.set_num_threads(args.threads)
    running: dict[str, Side] = {}
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, own) in enumerate(sides.items()):
            file = Path(scratch) / f"{number}.json"
            file.write_text(json.dumps({**job, **own, "scratch": scratch, "adapter": f"{scratch}/adapter.safetensors"}))
            worker = [sys.executable, script, "--worker"] if own.get("ours") else [args.rival, _RIVAL_WORKER]
            running[name] = Side(name, [*worker, str(file)], environment)
            print(f"{name}: {running[name].hello.get('about')}", file=sys.stderr)
        for step in range(args.warmup + args.steps):
            for side in running.values():
                seen = side.step()
                print(f"step {step} {side.name}: {seen['seconds']:.2f} s, loss {seen['loss']:.4f}", file=sys.stderr)
            rates.append(product_rate())
        for side in running.values():
            side.close()
    return running, rates


_RIVAL_WORKER = str(Path(__file__).with_name("rival_worker.py"))


def product_rate(size: int = 2048) -> float:
    """GFLOP/s of a bf16 product of two square matrices, now."""
    import torch

    a, b = (torch.randn(size, size).to(torch.bfloat16) for _ in "ab")
    best = 0.0
    for _ in range(4):
        begun = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - begun) / 1e9)
    return best


@dataclass(frozen=True)
class Shape:
    """The sizes that a step's floating-point operations follow from."""

    body: int
    """Weights of the body's matrices."""
    head: int
    adapter: int

    def flops(self, tokens: float, predicted: float, reference: bool) -> float:
        """Matrix-product operations of a LoRA step: forward, and backward to activations and adapters.

        tokens: through the body; predicted: through the head. Attention's own products are left out (about 3%).
        """
        passes = 3 if reference else 2
        head_passes = 3 if reference else 2
        return 2 * (self.body * passes * tokens + self.adapter * 3 * tokens + self.head * head_passes * predicted)


def medians(side: Side, warmup: int) -> dict[str, float]:
    """Median seconds, mean tokens, peak memory in GB over the timed steps, and the first and last loss."""
    timed = side.steps[warmup:]
    return {
        "seconds": statistics.median(s["seconds"] for s in timed),
        "tokens": statistics.mean(s["tokens"] for s in timed),
        "slots": statistics.mean(s["slots"] for s in timed),
        "peak_gb": max(s["peak_gb"] for s in timed),
        "first_loss": side.steps[0]["loss"],
        "last_loss": side.steps[-1]["loss"],
    }


def ratio(ours: Side, theirs: Side, warmup: int) -> float:
    """Median over turns of theirs / ours in seconds per step: each turn's two steps ran next to each other."""
    pairs = zip(ours.steps[warmup:], theirs.steps[warmup:], strict=True)
    return statistics.median(b["seconds"] / a["seconds"] for a, b in pairs)
