"""Batched generation against transformers' `generate` (batch 32, left-padded), same model, prompts and lengths.

    python bench/generation.py --prompts 96 --rounds 2

Both decode greedily exactly `--max-tokens` tokens a prompt, or up to the model's own end of turn with --natural.
The two alternate within each round; the last line is one JSON object, ratio > 1 when ours is faster.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time

WORDS = [
    "river",
    "stone",
    "market",
    "lantern",
    "answer",
    "quiet",
    "engine",
    "paper",
    "window",
    "garden",
    "signal",
    "bridge",
    "winter",
    "copper",
    "letter",
    "harbour",
]


def mixed_prompts(count: int, seed: int) -> list[str]:
    """Questions over passages of 10 to 400 words, log-uniform: most short, some long."""
    rng = random.Random(seed)
    lengths = [round(10 * 40 ** rng.random()) for _ in range(count)]
    return [
        "Summarise this in a few sentences: " + " ".join(rng.choice(WORDS) for _ in range(length)) for length in lengths
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--max-rows", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32, help="of transformers' generate")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--natural", action="store_true", help="stop at the end of turn")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    import torch

    from charter.models.generation.engine import Engine
    from charter.models.generation.types import Request
    from charter.models.loading import load_model
    from charter.models.template import chat_format, stop_ids
    from charter.records import Sampling, user_prompt

    local = load_model(args.model, args.dtype)
    model, tokenizer = local.model, local.tokenizer
    chat = chat_format(tokenizer)
    ends = stop_ids(model, chat) if args.natural else frozenset()
    prompts = [chat.prompt_ids(user_prompt(text)) for text in mixed_prompts(args.prompts, args.seed)]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def ours() -> int:
        engine = Engine(model, stop_ids=ends, max_rows=args.max_rows)
        sampling = Sampling(max_tokens=args.max_tokens)
        done = engine.run([Request(index, ids, sampling) for index, ids in enumerate(prompts)])
        print(engine.stats, file=sys.stderr)
        return sum(len(one.tokens) for one in done)

    def theirs() -> int:
        tokens = 0
        for start in range(0, len(prompts), args.batch):
            batch = prompts[start : start + args.batch]
            width = max(map(len, batch))
            ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in batch], device=model.device)
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch], device=model.device)
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=args.max_tokens,
                do_sample=False,
                pad_token_id=pad,
                eos_token_id=sorted(ends) or None,
                min_new_tokens=None if args.natural else args.max_tokens,
            )[:, width:].tolist()
            for row in out:
                end = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
                tokens += end
        return tokens

    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(args.rounds):
        for name, run in (("ours", ours), ("theirs", theirs)):
            begun = time.perf_counter()
            tokens = run()
            rates[name].append(tokens / (time.perf_counter() - begun))
            print(f"round {number}: {name} {rates[name][-1]:.0f} tokens/s ({tokens} tokens)", file=sys.stderr)
    pairs = [[round(a, 1), round(b, 1)] for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
    print(
        json.dumps(
            {
                "name": "generation",
                "ratio": round(statistics.median(a / b for a, b in pairs), 2),
                "ours": round(statistics.median(rates["ours"]), 1),
                "theirs": round(statistics.median(rates["theirs"]), 1),
                "unit": "tokens/s",
                "pairs": pairs,
            }
        )
    )


if __name__ == "__main__":
    main()
