"""The generation stage of feedback against a plain loop over transformers' `generate`, one question at a time.

    python bench/feedback.py --prompts 96 --rounds 2

The questions are those of a contrast stage: built-in prompts under a clause's text and under its opposite, so many of
them begin alike. Both sides decode greedily up to the model's own end of turn; ours also keeps every answer in its
log. The two alternate within each round; the last line is one JSON object, ratio > 1 when ours is faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def questions(count: int) -> list[Any]:
    """So many questions of a contrast stage on the starter charter, the clauses in turns."""
    from charter.document import STARTER, clause_instruction, load_charter, opposite_instruction
    from charter.feedback.contrast import contrast_prompts
    from charter.feedback.pairs import load_pairs
    from charter.records import user_prompt

    charter = load_charter(STARTER)
    clauses = sum("contrast" in clause.train for clause in charter.clauses)
    asked = contrast_prompts(charter, load_pairs(), -(-count // (2 * clauses)))
    return [
        user_prompt(pair.prompt, instruction(charter.clause(clause)))
        for clause, pair, _ in asked
        for instruction in (clause_instruction, opposite_instruction)
    ][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompts", type=int, default=96, help="questions a side and round (96)")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: torch's own choice")
    args = parser.parse_args()

    import torch

    from charter.feedback.asking import AnswerLog, LoggedModel
    from charter.models.generation.local import LocalTextModel
    from charter.models.loading import load_model
    from charter.models.template import chat_format, stop_ids
    from charter.records import Sampling

    if args.threads:
        torch.set_num_threads(args.threads)
    local = load_model(args.model, args.dtype)
    chat = chat_format(local.tokenizer)
    ends = sorted(stop_ids(local.model, chat))
    asked = questions(args.prompts)
    ids = [chat.prompt_ids(one) for one in asked]
    pad = local.tokenizer.pad_token_id if local.tokenizer.pad_token_id is not None else 0

    def ours() -> list[str]:
        text = LocalTextModel(local)
        with tempfile.TemporaryDirectory() as folder:
            model = LoggedModel(text, local.digest, AnswerLog(Path(folder) / "answers.jsonl"))
            said = [one.text for (one,) in model.generate(asked, Sampling(args.max_tokens))]
        prompted = sum(map(len, ids))
        print(f"prefilled {text.stats.prefilled_tokens} of {prompted} prompt tokens", file=sys.stderr)
        return said

    def theirs() -> list[str]:
        said = []
        for prompt in ids:
            out = local.model.generate(
                input_ids=torch.tensor([prompt], device=local.model.device),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long, device=local.model.device),
                max_new_tokens=args.max_tokens,
                do_sample=False,
                pad_token_id=pad,
                eos_token_id=ends,
            )[0, len(prompt) :]
            said.append(str(local.tokenizer.decode(out, skip_special_tokens=True)))
        return said

    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(args.rounds):
        answers = {}
        for name, run in (("ours", ours), ("theirs", theirs)):
            begun = time.perf_counter()
            answers[name] = run()
            rates[name].append(len(asked) / (time.perf_counter() - begun))
            print(f"round {number}: {name} {rates[name][-1]:.2f} samples/s", file=sys.stderr)
        same = sum(a == b for a, b in zip(answers["ours"], answers["theirs"], strict=True))
        print(f"round {number}: {same} of {len(asked)} answers are the same word for word", file=sys.stderr)
    pairs = [[round(a, 2), round(b, 2)] for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
    print(
        json.dumps(
            {
                "name": "feedback",
                "ratio": round(statistics.median(a / b for a, b in zip(*rates.values(), strict=True)), 2),
                "ours": round(statistics.median(rates["ours"]), 2),
                "theirs": round(statistics.median(rates["theirs"]), 2),
                "unit": "samples/s",
                "pairs": pairs,
            }
        )
    )


if __name__ == "__main__":
    main()
