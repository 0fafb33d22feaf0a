"""What every bench shares: its options, the worker processes, and the turns that they take."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rows import ROOT

RIVAL = ["torch==2.13.0", "trl", "peft"]
RANK, ALPHA = 16, 32
SIDES = {
    "charter": {"ours": True},
    "TRL, our choices": {"defaults": False},
    "TRL, its defaults": {"defaults": True},
}


def arguments(
    description: str | None,
    *,
    steps: int = 8,
    warmup: int = 1,
    batch: int = 8,
    max_length: int = 512,
    more: Callable[[argparse.ArgumentParser], object] = lambda _: None,
) -> argparse.Namespace:
    """The options of the benches, with this one's defaults; `more` adds options of its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival-python", help="a Python with trl; without it an environment is made under build/")
    parser.add_argument("--model", default="smollm2", help="a folder, or a random Llama as HIDDENxLAYERS (smollm2)")
    parser.add_argument("--steps", type=int, default=steps, help=f"timed optimiser steps a side ({steps})")
    parser.add_argument("--warmup", type=int, default=warmup, help=f"steps before timing ({warmup})")
    parser.add_argument("--batch", type=int, default=batch, help=f"rows per step ({batch})")
    parser.add_argument("--max-length", type=int, default=max_length, help=f"longer rows are left out ({max_length})")
    parser.add_argument("--synthetic", action="store_true", help="random tokens of hh-like lengths even if hh is there")
    parser.add_argument("--threads", type=int, default=0, help="processor threads of each side; 0: torch's own choice")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of weights and adapters")
    parser.add_argument("--row-tokens", type=int, default=2048, help="charter's tokens per forward pass (2048)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    more(parser)
    return parser.parse_args()


def job_of(args: argparse.Namespace, method: str, rows: Sequence[Any], model: Path, **more: Any) -> dict[str, Any]:
    """What both workers are told, but for what differs between sides."""
    return {
        "method": method, "model": str(model), "rows": rows, "batch": args.batch, "steps": args.warmup + args.steps,
        "max_length": args.max_length, "r": RANK, "alpha": ALPHA, "dtype": args.dtype, "row_tokens": args.row_tokens,
        "checkpointing": False, **more,
    }  # fmt: skip


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
    script: str,
    args: argparse.Namespace,
    job: dict[str, Any],
    sides: dict[str, dict[str, Any]],
    title: str = "",
    worker: str = "",
) -> tuple[dict[str, Side], float]:
    """Start a worker for each side, step them in turns; also bf16 GFLOP/s of a large product, the median in between.

    sides: by name, what of the job differs; "ours" in it says that the worker is charter's.
    worker: the rival's script, in place of the trainers' one.
    """
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    if args.threads:
        import torch

        environment["OMP_NUM_THREADS"] = str(args.threads)
        torch.set_num_threads(args.threads)
    rival = rival_python(args.rival_python)
    running: dict[str, Side] = {}
    rates: list[float] = []
    label = f"{title}; " if title else ""
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, own) in enumerate(sides.items()):
            file = Path(scratch) / f"{number}.json"
            file.write_text(json.dumps({**job, **own, "scratch": scratch, "adapter": f"{scratch}/adapter.safetensors"}))
            command = [sys.executable, script, "--worker"] if own.get("ours") else [rival, worker or _RIVAL_WORKER]
            running[name] = Side(name, [*command, str(file)], environment)
            print(f"{label}{name}: {running[name].hello.get('about')}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        for step in range(job["steps"]):
            for side in running.values():
                seen = side.step()
                text = f"{label}step {step + 1}/{job['steps']}, {side.name}: {seen['seconds']:.2f} s"
                print(f"{text}, loss {seen['loss']:.4f}", file=sys.stderr, flush=True)
            rates.append(product_rate())
            left = (time.monotonic() - begun) / (step + 1) * (job["steps"] - step - 1)
            print(f"{label}about {left:.0f} s left", file=sys.stderr, flush=True)
        for side in running.values():
            side.close()
    return running, statistics.median(rates)


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
