"""Every method on the same human preferences, measured alike, in one table: docs/methods/comparison.md.

    python experiments/methods.py                     # all that is not measured yet
    python experiments/methods.py dpo ipo             # these
    python experiments/methods.py --table             # the table alone, from docs/methods/comparison.json

The start is SmolLM2-135M-Instruct after SFT on the chosen sides (the row `sft`, measured against the untouched model);
`distill` takes the start for its teacher and the untouched model for its student. All others train the start, for one
pass over the same pairs, at their own defaults but for what `SETTINGS` says. `methods_measure.py` has the measures.
Every part is kept under runs/methods as soon as it is done, training checkpoints included, and every finished method
goes into the table at once: an interrupted run continues where it was.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from methods_measure import against, held_out, moved, refusals
from methods_table import COMPARED, SETTINGS, write_table

from charter.document import STARTER, load_charter
from charter.judges.registry import judge
from charter.recipes.data_stage import HELDOUT, build_data
from charter.recipes.recipe import Recipe
from charter.recipes.train_stage import run_train_stage
from charter.records import preference_from, read_jsonl, write_text
from charter.training.catalogue import CATALOGUE, method

ROOT = Path(__file__).resolve().parent.parent
HH = ROOT.parent / "shared" / "data" / "hh-rlhf-harmless" / "dev.jsonl"
SUITES = ("harmful_requests", "benign_lookalikes")


def kept(file: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gave when it was done, now or by an earlier process."""
    if not file.exists():
        found = work()
        gc.collect()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(found, indent=1))
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def data_of(args: argparse.Namespace) -> dict[str, Any]:
    """Training rows and held-out pairs of other prompts, without what is close to the suites."""
    source = {"path": str(args.pairs), "limit": args.limit, "holdout": args.holdout}
    recipe = Recipe.model_validate(
        {
            "recipe": 1,
            "name": "methods",
            "model": args.model,
            "seed": args.seed,
            "suites": SUITES,
            "data": {"files": [source]},
            "train": [{"method": "dpo"}],
        }
    )
    folder = args.runs / "data"
    folder.mkdir(parents=True, exist_ok=True)
    return kept(folder / "done.json", lambda: build_data(recipe, load_charter(STARTER), None, judge("refusal"), folder))


def trained(args: argparse.Namespace, name: str, model: str, **more: Any) -> dict[str, Any]:
    """The method's training from `model`; resumed if it was cut off, and then its minutes are not known."""
    folder = args.runs / name
    settings = method(name).settings(**{**SETTINGS, "seed": args.seed, **more})

    def work() -> dict[str, Any]:
        resumed = (folder / "checkpoints").exists()
        begun = time.monotonic()
        done = run_train_stage(settings, model, args.runs / "data", folder)  # type: ignore[arg-type]
        minutes = None if resumed else (time.monotonic() - begun) / 60
        return {**done, "minutes": minutes, "start": model, "settings": settings.model_dump(mode="json")}

    return kept(folder / "trained.json", work)


def start_of(args: argparse.Namespace) -> str:
    """The untouched model after SFT on the chosen sides."""
    return str(trained(args, "sft", args.model)["model"])


def measured(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """The method trained and measured: its line of the table."""
    folder: Path = args.runs / name
    begun = time.monotonic()
    if name == "sft":
        done = trained(args, name, args.model)
    elif name == "distill":
        done = trained(args, name, args.model, teacher=start_of(args))
    elif name == "online_dpo":
        aim = {"model": str(trained(args, "reward", start_of(args))["model"])}
        done = trained(args, name, start_of(args), reward=[aim], sample_tokens=args.tokens)
    else:
        done = trained(args, name, start_of(args))
    pairs = [preference_from(row) for _, row in read_jsonl(args.runs / "data" / HELDOUT)]
    candidate, start = done["model"], done["start"]
    longest = SETTINGS["max_tokens"]
    result = {"accuracy": kept(folder / "heldout.json", lambda: held_out(name, start, candidate, pairs, longest, args))}
    if CATALOGUE[name].gives == "policy":
        result["drift"] = kept(folder / "drift.json", lambda: moved(start, candidate, pairs, longest, args))
        before = refusals(start, args.runs / ("untouched" if start == args.model else "sft"), SUITES, args)
        after = refusals(candidate, folder, SUITES, args)
        result["refusals"] = against(before, after, args.seed)
    return {
        "method": name, "date": datetime.now(UTC).date().isoformat(), "seed": args.seed, "model": args.model,
        "start": "untouched" if start == args.model else "sft", "data": args.pairs.name, "limit": args.limit,
        "digests": data_of(args)["digests"], "rows": done["rows"], "steps": done["steps"], "dropped": done["dropped"],
        "settings": done["settings"], "training_minutes": done["minutes"],
        "last_call_minutes": (time.monotonic() - begun) / 60, "versions": versions(), **result,
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    import torch
    import transformers

    import charter

    return {"charter": charter.__version__, "torch": torch.__version__, "transformers": transformers.__version__}


def comparable() -> list[str]:
    """Methods that learn from pairs, and online DPO with the reward model that learned from them."""
    on_pairs = ("demonstrations", "preferences", "ratings")
    return [
        name
        for name, entry in CATALOGUE.items()
        if name == "online_dpo" or (entry.reads in on_pairs and name != "cost")
    ]


def same_settings(args: argparse.Namespace) -> None:
    """A folder holds one experiment: what is kept there must not be mixed with other settings."""
    asked = {name: str(getattr(args, name)) for name in ("pairs", "limit", "holdout", "model", "seed", "samples")}
    asked |= {"prompts": str(args.prompts), "tokens": str(args.tokens), "shared": json.dumps(SETTINGS)}
    there = kept(args.runs / "settings.json", lambda: asked)
    if differs := {name: there.get(name) for name in asked if there.get(name) != asked[name]}:
        raise SystemExit(f"{args.runs} holds runs with {differs}. Give another folder with --runs, or remove that one.")


def main() -> None:
    """Train and measure what is named, or all that is not yet, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="names of the catalogue; without any, all on pairs")
    parser.add_argument("--table", action="store_true", help="only write the table from the results there are")
    parser.add_argument("--pairs", type=Path, default=HH, help="pairs in any supported format")
    parser.add_argument("--limit", type=int, default=900, help="pairs drawn (900)")
    parser.add_argument("--holdout", type=float, default=0.45, help="share of prompts kept for testing (0.45)")
    parser.add_argument("--samples", type=int, default=150, help="samples of each refusal suite (150)")
    parser.add_argument("--prompts", type=int, default=96, help="held-out prompts answered for KL and length (96)")
    parser.add_argument("--tokens", type=int, default=96, help="to which they are answered (96)")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "methods")
    parser.add_argument("--out", type=Path, default=COMPARED, help="folder of comparison.json and comparison.md")
    args = parser.parse_args()
    file: Path = args.out / "comparison.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if unknown := sorted(set(args.methods) - set(comparable())):
        parser.error(f"no methods on pairs: {', '.join(unknown)}. There are {', '.join(comparable())}.")
    names = [] if args.table else args.methods or [name for name in comparable() if name not in results]
    begun = time.monotonic()
    if names:
        same_settings(args)
        data_of(args)
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}", file=sys.stderr, flush=True)
        results[name] = measured(args, name)
        write_text(file, json.dumps({key: results[key] for key in comparable() if key in results}, indent=1) + "\n")
        write_table(results, comparable(), args.out)
        spent = (time.monotonic() - begun) / 60
        left = spent / number * (len(names) - number)
        print(f"{name}: done; {spent:.1f} minutes so far, about {left:.0f} left", file=sys.stderr, flush=True)
    print(write_table(results, comparable(), args.out))


if __name__ == "__main__":
    main()
