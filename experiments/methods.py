"""Every method on the same human preferences, as one table: `docs/methods/README.md` shows it.

    python experiments/methods.py PAIRS.jsonl dpo ipo simpo … >table.md

Each method trains the same start (SmolLM2-135M-Instruct after SFT on the chosen sides) for one pass over the same
pairs at its own defaults, in a run of its own under runs/methods, so an interrupted table continues. Measured: held-out
preference accuracy by implicit reward; KL from the start, as the mean log-ratio of sampled completions (an unbiased
estimate, Schulman's k1); their mean length; what is refused, harmful and benign, before and after.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from charter.feedback.pairs import load_benign_prompts
from charter.models.generation.local import LocalTextModel
from charter.models.loading import load_model
from charter.models.template import chat_format
from charter.records import Sampling, user_prompt, write_text
from charter.training.catalogue import CATALOGUE
from charter.training.layout import Group
from charter.training.logprobs import CompletionLogprobs
from charter.training.scoring import ROW_TOKENS, completion_logprob_sums

RUNS = Path("runs/methods")
SHARED = {"batch_size": 16, "max_tokens": 400}
PROMPTS, TOKENS = 96, 64


def trained(name: str, pairs: Path, limit: int, train: list[dict[str, Any]], model: str = "smollm2") -> Path:
    """The run folder of a recipe with these training stages."""
    recipe = {
        "recipe": 1, "name": name, "model": model, "seed": 1, "limit": 120,
        "suites": ["harmful_requests", "benign_lookalikes"],
        "data": {"files": [{"path": str(pairs), "limit": limit, "holdout": 0.3}]},
        "gate": {"preference_accuracy": {"min_gain": 0.0}},
        "train": train,
    }  # fmt: skip
    RUNS.mkdir(parents=True, exist_ok=True)
    path = RUNS / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "charter.cli.main", "align", str(path), "--out", str(RUNS / name)]
    # 1 and 3 are verdicts: a method that does not beat chance belongs in the table too.
    if subprocess.run(command, check=False).returncode not in (0, 1, 3):
        raise SystemExit(f"{name} could not finish")
    return RUNS / name


def drift(start: str, candidate: str, folder: Path) -> dict[str, float]:
    """KL in nats per completion from `start`, and the mean tokens of sampled completions; kept in `folder`."""
    kept = folder / "drift.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    local = load_model(candidate)
    format_ = chat_format(local.tokenizer)
    asked = [user_prompt(prompt.prompt) for prompt in load_benign_prompts()[:PROMPTS]]
    said = [answers[0] for answers in LocalTextModel(local).generate(asked, Sampling(TOKENS, 1.0, seed=1))]
    groups = [
        Group(str(i), format_.prompt_ids(prompt), (answer.tokens,))
        for i, (prompt, answer) in enumerate(zip(asked, said, strict=True))
    ]
    sums = [
        completion_logprob_sums(CompletionLogprobs(load_model(name).model), groups, ROW_TOKENS, f"log-probs, {name}")
        for name in (candidate, start)
    ]
    ratios = [float(sums[0][group.key][0] - sums[1][group.key][0]) for group in groups]
    found = {"kl": statistics.mean(ratios), "length": statistics.mean(len(answer.tokens) for answer in said)}
    write_text(kept, json.dumps(found))
    return found


def row(name: str, folder: Path, start: str) -> str:
    """A line of the table."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    whole = {m["name"]: m for m in report["metrics"] if m["slice"] is None and m["clause"] is None}
    moved = drift(start, str(next(folder.glob(f"stages/*-{name}")) / "model"), folder)
    accuracy = whole["preference_accuracy"]
    seconds = sum(stage["seconds"] or 0 for stage in report["stages"] if stage["name"] == name)
    refusals = " | ".join(
        f"{100 * whole[metric]['base']:.0f} → {100 * whole[metric]['candidate']:.0f}"
        for metric in ("harmful_refused", "benign_answered")
    )
    return (
        f"| `{name}` | {100 * accuracy['candidate']:.1f} ({100 * accuracy['ci_low'] + 50:.1f} to "
        f"{100 * accuracy['ci_high'] + 50:.1f}) | {moved['kl']:.2f} | {moved['length']:.0f} | {refusals} "
        f"| {seconds / 60:.1f} |"
    )


def main() -> None:
    """Train what is named, or everything that learns from pairs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("methods", nargs="*", help="names of the catalogue; without any, all on pairs or ratings")
    parser.add_argument("--limit", type=int, default=1000, help="pairs, of which 30%% are held out")
    args = parser.parse_args()
    names = args.methods or [name for name, entry in CATALOGUE.items() if entry.reads in ("preferences", "ratings")]
    first = trained("start", args.pairs, args.limit, [{"method": "sft", "learning_rate": 1e-4, **SHARED}])
    start = str(next(first.glob("stages/*-sft")) / "model")
    print("| method | held-out accuracy | KL | length | harmful refused | benign answered | minutes |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        folder = trained(name, args.pairs, args.limit, [{"method": name, **SHARED}], start)
        print(row(name, folder, start), flush=True)


if __name__ == "__main__":
    main()
