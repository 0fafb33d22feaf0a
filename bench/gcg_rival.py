"""nanogcg's side of bench/gcg.py, run by a Python that has it: a behaviour a line on stdin, a result a line on stdout.

nanogcg 0.3.0 hands the model its cached prefix as lists and relies on the model not to change it; transformers 5 takes
cache objects only, and writes into them. The wrapper below gives each call a cache of its own. Nothing else is changed.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

import torch
from nanogcg.gcg import GCG, GCGConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache


class Adapted:
    """A model that takes and gives a cache as pairs of keys and values, and leaves the given one as it is."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *, past_key_values: Any = None, use_cache: bool = False, **inputs: Any) -> Any:
        cache = None
        if past_key_values is not None:
            cache = DynamicCache()
            for layer, (keys, values) in enumerate(past_key_values):
                cache.update(keys, values, layer)
        output = self._model(past_key_values=cache, use_cache=use_cache, **inputs)
        if use_cache:
            output.past_key_values = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
        return output


def main() -> None:
    job = json.loads(sys.stdin.readline())
    logging.getLogger("nanogcg").setLevel(logging.ERROR)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    dtype = getattr(torch, job["dtype"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype).eval()
    if torch.cuda.is_available():
        model.to("cuda")
    about = f"nanogcg 0.3.0, torch {torch.__version__}, {torch.get_num_threads()} threads, {model.device}"
    print(json.dumps({"about": about}), flush=True)
    for line in sys.stdin:
        row = json.loads(line)
        config = GCGConfig(
            num_steps=job["steps"],
            search_width=job["width"],
            topk=job["top"],
            seed=row["seed"],
            optim_str_init=job["start"],
            verbosity="ERROR",
            batch_size=job["rival_batch"],
        )
        begun = time.perf_counter()
        found = GCG(Adapted(model), tokenizer, config)
        result = found.run(f"{row['request']} {{optim_str}}", row["target"])
        seconds = time.perf_counter() - begun
        ids = tokenizer([result.best_string], add_special_tokens=False)["input_ids"][0]
        template = tokenizer.apply_chat_template(
            [{"role": "user", "content": f"{row['request']} {{optim_str}}"}], tokenize=False, add_generation_prompt=True
        )
        if tokenizer.bos_token and template.startswith(tokenizer.bos_token):
            template = template.replace(tokenizer.bos_token, "")
        before, after = template.split("{optim_str}")
        pieces = {
            "before": tokenizer([before])["input_ids"][0],
            "after": tokenizer([after], add_special_tokens=False)["input_ids"][0],
            "target": tokenizer([row["target"]], add_special_tokens=False)["input_ids"][0],
            "start": tokenizer([job["start"]], add_special_tokens=False)["input_ids"][0],
        }
        print(json.dumps({"seconds": seconds, "losses": result.losses, "best": ids, **pieces}), flush=True)


if __name__ == "__main__":
    main()
