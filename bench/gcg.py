"""Our GCG against nanogcg: same model, dtype, token ids, behaviours, seeds, width and steps.

    python bench/gcg.py --rival-python PATH --behaviours 10 --steps 20

The rival runs in an environment of its own; without --rival-python one is made under build/gcg. The two take turns,
behaviour by behaviour. `ratio` is seconds a step, theirs over ours. Both best suffixes are then measured by one
yardstick (the mean loss of the target, logits as the model gives them, softmax in fp32); `loss` is ours less theirs,
below 0 when ours is lower, with a bootstrap interval over behaviours.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RIVAL = (["torch==2.13.0"], ["transformers>=5.19,<6"], ["--no-deps", "nanogcg==0.3.0"], ["scipy", "tqdm"])


def rival_python(given: str | None) -> str:
    """The Python that has nanogcg; made under build/ when none is given."""
    if given:
        return given
    folder = ROOT / "build" / "gcg"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print("making an environment with nanogcg under build/gcg (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for packages in RIVAL:  # torch first and pinned, so that what follows accepts it
            subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "ready").touch()
    return str(python)


def bootstrap(values: list[float], seed: int = 0, draws: int = 4000) -> list[float]:
    """95% interval of the mean, percentiles."""
    rng = random.Random(seed)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(draws))
    return [round(means[int(draws * 0.025)], 4), round(means[int(draws * 0.975)], 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival-python")
    parser.add_argument("--model", default="smollm2", help="a folder, or smollm2")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--behaviours", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--width", type=int, default=512, help="candidates a step")
    parser.add_argument("--top", type=int, default=256)
    parser.add_argument("--rival-batch", type=int, help="nanogcg's batch_size (its own choice: all candidates at once)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    import torch

    from charter.models.loading import load_model, resolve
    from charter.redteam.behaviours import chosen, shipped_behaviours
    from charter.redteam.gcg.objective import Objective, ready
    from charter.redteam.gcg.problem import Problem
    from charter.redteam.gcg.search import GCGSettings, search

    local = load_model(args.model, args.dtype)
    job = {
        "model": str(resolve(args.model)), "dtype": args.dtype, "steps": args.steps, "width": args.width,
        "top": args.top, "start": "x x x x x x x x x x x x x x x x x x x x", "rival_batch": args.rival_batch,
    }  # fmt: skip
    command = [rival_python(args.rival_python), str(Path(__file__).with_name("gcg_rival.py"))]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    environment.pop("PYTHONPATH", None)
    rival = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert rival.stdin
    assert rival.stdout

    def ask(message: dict[str, Any]) -> dict[str, Any]:
        assert rival.stdin
        assert rival.stdout
        rival.stdin.write(json.dumps(message) + "\n")
        rival.stdin.flush()
        line = rival.stdout.readline()
        if not line:
            raise SystemExit(f"nanogcg's side ended early (exit code {rival.wait()})")
        answer: dict[str, Any] = json.loads(line)
        return answer

    print(ask(job)["about"], f"; ours: {torch.get_num_threads()} threads, {local.model.device}", file=sys.stderr)
    pairs, gaps, finals = [], [], []
    for number, behaviour in enumerate(chosen(shipped_behaviours(), (), args.behaviours, args.seed)):
        seed = args.seed + number
        theirs = ask({"request": behaviour.text, "target": behaviour.opening(), "seed": seed})
        problem = Problem(*(tuple(theirs[part]) for part in ("before", "after", "target")))
        settings = GCGSettings(steps=args.steps, width=args.width, top=args.top, seed=seed)
        with ready(local.model):
            objective = Objective(local.model, problem)
            begun = time.perf_counter()
            found = search([objective], local.tokenizer, theirs["start"], settings)
            seconds = time.perf_counter() - begun
            yardstick = Objective(local.model, problem)
            losses = [float(yardstick.losses(torch.tensor([ids]).to(local.model.device))[0])
                      for ids in (found.ids, theirs["best"])]  # fmt: skip
        pairs.append([round(args.steps / seconds, 4), round(args.steps / theirs["seconds"], 4)])
        gaps.append(losses[0] - losses[1])
        finals.append([round(loss, 4) for loss in losses])
        print(
            f"behaviour {number + 1}: ours {seconds / args.steps:.2f} s/step, theirs "
            f"{theirs['seconds'] / args.steps:.2f}; loss {losses[0]:.3f} against {losses[1]:.3f}",
            file=sys.stderr,
            flush=True,
        )
    rival.stdin.close()
    rival.wait(20)
    print(
        json.dumps(
            {
                "name": "gcg",
                "ratio": round(statistics.median(a / b for a, b in pairs), 2),
                "ours": round(statistics.median(a for a, _ in pairs), 4),
                "theirs": round(statistics.median(b for _, b in pairs), 4),
                "unit": "steps/s",
                "pairs": pairs,
                "loss": round(statistics.fmean(gaps), 4),
                "loss_interval": bootstrap(gaps) if len(gaps) > 1 else None,
                "losses": finals,
                "steps": args.steps,
                "width": args.width,
                "dtype": args.dtype,
                "device": str(local.model.device),
            }
        )
    )


if __name__ == "__main__":
    main()
