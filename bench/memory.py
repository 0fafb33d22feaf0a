"""Peak memory of a DPO and an SFT step against TRL's, at vocabularies of 49k and 128k, on small random Llamas.

    python bench/memory.py --rival-python PATH

Memory is what a worker's resident set grows by at most, above what it rests at with the model loaded, over two steps.
Two pairs of sides: activations kept by both, and activations recomputed by both (TRL's default). charter runs a batch
in rows of at most `--row-tokens` tokens, as it does unless told otherwise; TRL runs it at once, as it does. The last
line is a JSON list whose ratio is ours / theirs: less than 1 means that ours takes less.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dpo import BETA, pair_rows
from dpo import RATE as DPO_RATE
from rows import pairs_like_hh
from sft import RATE as SFT_RATE
from sft import answer_rows
from shapes import LlamaShape, random_llama
from sides import arguments, job_of, take_turns
from table import last_line, rival_versions, run_facts, seen

from charter.training.layout import Group

SIDES: dict[str, dict[str, Any]] = {
    "charter": {"ours": True},
    "TRL, our choices": {"defaults": False},
    "charter, recomputing": {"ours": True, "checkpointing": True},
    "TRL, its defaults": {"defaults": True},
}
COMPARED = {"TRL, our choices": "charter", "TRL, its defaults": "charter, recomputing"}


def measure(args: argparse.Namespace, method: str, vocabulary: int) -> list[dict[str, Any]]:
    """One method at one vocabulary: a table, and an object for each pair of sides."""
    shape = LlamaShape(args.hidden, args.layers, vocabulary)
    args.model = shape.name
    pairs, source = pairs_like_hh((args.warmup + args.steps) * args.batch, args.max_length, args.seed, args.synthetic)
    if method == "dpo":
        rows, more = pair_rows(pairs), {"beta": BETA, "learning_rate": DPO_RATE}
    else:
        rows = answer_rows([Group(pair.key, pair.prompt, pair.completions[:1]) for pair in pairs])
        more = {"packing": False, "learning_rate": SFT_RATE}
    job = job_of(args, method, rows, random_llama(shape), **more)
    script = str(Path(__file__).with_name(f"{method}.py"))
    running, _ = take_turns(script, args, job, SIDES, f"{method}, {vocabulary // 1000}k")
    found = {name: seen(side, args.warmup) for name, side in running.items()}
    print(f"\n{method}, vocabulary {vocabulary}: {shape.name}, {source}, {args.batch} rows a step\n")
    print("| side | resting GB | peak GB | above rest GB | s/step | first loss |")
    print("|---|---|---|---|---|---|")
    for name, s in found.items():
        print(
            f"| {name} | {s.peak_gb - s.above_rest_gb:.2f} | {s.peak_gb:.2f} | {s.above_rest_gb:.2f} "
            f"| {s.seconds:.2f} | {s.losses[0]:.4f} |"
        )
    return [
        {
            "name": f"{method} memory at {vocabulary // 1000}k, {theirs}",
            "ratio": round(found[ours].above_rest_gb / found[theirs].above_rest_gb, 3),
            "ours": found[ours].above_rest_gb, "theirs": found[theirs].above_rest_gb,
            "unit": "GB above rest, ours / theirs", "pairs": args.steps,
            "peak_gb": [found[ours].peak_gb, found[theirs].peak_gb],
            "losses": [found[ours].losses, found[theirs].losses],
            "run": run_facts(args, source, rival_versions(running)),
        }
        for theirs, ours in COMPARED.items()
    ]  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """What this bench has of its own."""
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[49_152, 128_256])
    parser.add_argument("--methods", nargs="+", default=["dpo", "sft"], choices=("dpo", "sft"))
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--layers", type=int, default=6)


def main() -> None:
    args = arguments(__doc__, steps=1, batch=4, more=options)
    if min(args.vocabularies) < 49_152:
        raise SystemExit("--vocabularies: the data's token ids go up to 49,151; give larger ones")
    last_line([line for v in args.vocabularies for method in args.methods for line in measure(args, method, v)])


if __name__ == "__main__":
    main()
