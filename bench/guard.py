"""The guard's whole input stack against its encoder alone under sentence-transformers, in turns in one process.

    python bench/guard.py --rounds 15

Ours is everything that `charter guard score --side input` does to a prompt: limits, wordings, personal data, secrets
and the classifier. Theirs is the embedding alone, of the same weights: by sentence-transformers where it is installed,
otherwise by the forward pass of transformers that it runs (fp32, mean pooling), which is named in the output. Prompts
of 128 and 512 tokens, one at a time and 16 together; both sides may use every core. The last line is a JSON list, one
object a shape; ratio > 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

SHAPES = ((128, 1), (128, 16), (512, 1), (512, 16))


def prompts(tokens: int, count: int, seed: int) -> list[str]:
    """Harmless built-in prompts, joined until they have that many tokens, with the last words cut off."""
    from charter.feedback.pairs import load_benign_prompts
    from charter.guard.encoder import encoder

    draw = random.Random(seed)
    pool = [prompt.prompt for prompt in load_benign_prompts()]
    tokenizer = encoder().tokens._tokenizer
    out = []
    for _ in range(count):
        text = ""
        while len(tokenizer.encode(text, add_special_tokens=False).ids) < tokens - 2:
            text += " " + draw.choice(pool)
        end = tokenizer.encode(text, add_special_tokens=False).offsets[tokens - 3][1]
        out.append(text[:end].strip())
    return out


def ours() -> Callable[[Sequence[str]], None]:
    """Check texts side by side, as a server's threads would."""
    from charter.guard.build import baseline

    stack = baseline()
    pool = ThreadPoolExecutor(os.cpu_count() or 1)

    def check(texts: Sequence[str]) -> None:
        if len(texts) == 1:
            stack.check_input(texts[0])
        else:
            list(pool.map(stack.check_input, texts))

    return check


def theirs(longest: int) -> tuple[str, Callable[[Sequence[str]], None]]:
    """The encoder alone, and what it runs under."""
    import torch

    from charter.models.minilm import model_folder

    if find_spec("sentence_transformers"):
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(model_folder()), device="cpu")
        model.max_seq_length = longest
        return "sentence-transformers", lambda texts: model.encode(list(texts), batch_size=16, show_progress_bar=False)
    from transformers import AutoTokenizer, BertModel

    tokenizer: Any = AutoTokenizer.from_pretrained(model_folder())
    bert: Any = BertModel.from_pretrained(model_folder(), add_pooling_layer=False).eval()

    def embed(texts: Sequence[str]) -> None:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        with torch.inference_mode():
            hidden = bert(**batch).last_hidden_state
            weight = batch["attention_mask"].unsqueeze(-1).float()
            torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1).numpy()

    return "transformers' forward pass, fp32", embed


def milliseconds(work: Callable[[Sequence[str]], None], texts: Sequence[str]) -> float:
    begun = time.perf_counter()
    work(texts)
    return (time.perf_counter() - begun) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds a shape and side (15)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    check, (under, embed) = ours(), theirs(512)
    results = []
    for tokens, batch in SHAPES:
        rounds: list[tuple[float, float]] = []
        for number in range(args.rounds + 2):
            texts = prompts(tokens, batch, args.seed + number)
            pair = milliseconds(check, texts), milliseconds(embed, texts)
            if number >= 2:
                rounds.append(pair)
        mine, other = (statistics.median(side) for side in zip(*rounds, strict=True))
        print(f"{tokens} tokens x {batch}: {mine:.1f} ms, {under} {other:.1f} ms", file=sys.stderr)
        results.append(
            {
                "name": f"guard input stack, {tokens} tokens, batch {batch}", "ratio": other / mine, "ours": mine,
                "theirs": other, "unit": "ms", "pairs": len(rounds), "rival": under,
                "ours_p90": sorted(mine for mine, _ in rounds)[int(0.9 * len(rounds))],
            }
        )  # fmt: skip
    print(json.dumps(results))


if __name__ == "__main__":
    main()
