"""Our side of a bench as a worker: a model with adapters, and an optimiser step per `go` line."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

RANK, ALPHA = 16, 32


@dataclass
class Ours:
    """What a step needs."""

    model: Any
    logprobs: Any
    optimizer: Any
    settings: Any

    def step(self, objective: Any, batch: Sequence[Any], number: int, total: int) -> tuple[dict[str, float], int]:
        """(logged values, tokens that really went through the model) of the training loop's own step."""
        from charter.training.devices import here
        from charter.training.layout import Row, pack
        from charter.training.loop import _step

        values, _ = _step(self.logprobs, objective, batch, self.optimizer, self.settings, number, total, here())
        return values, sum(Row([batch[i] for i in row]).tokens for row in pack(batch, self.settings.row_tokens))


def prepare(job: dict[str, Any], settings: Any) -> Ours:
    """Load the model, put the adapters on, write them down for the rival, and say how large everything is."""
    import torch
    from safetensors.torch import save_file

    from charter.models.loading import load_model
    from charter.models.lora import LoraSettings, add_lora
    from charter.training.logprobs import CompletionLogprobs
    from charter.training.optimizer import MasterAdamW

    torch.manual_seed(0)
    model: Any = add_lora(load_model(job["model"], "bfloat16").model, LoraSettings(r=RANK, alpha=ALPHA), 0)
    model.train()
    logprobs = CompletionLogprobs(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = MasterAdamW(trained, betas=settings.betas, eps=settings.eps, weight_decay=0.0)
    save_file({n: p.detach().clone() for n, p in model.named_parameters() if "lora_" in n}, job["adapter"])
    body = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "base_layer" in n)
    shape = [body, model.get_output_embeddings().weight.numel(), sum(p.numel() for p in trained)]
    print(json.dumps({"about": "adapters bf16, fp32 masters", "shape": shape}), flush=True)
    return Ours(model, logprobs, optimizer, settings)


def take_steps(
    job: dict[str, Any], groups: Sequence[Any], step: Callable[[int, Sequence[Any]], tuple[dict[str, float], int]]
) -> None:
    """Run `step(number, batch)` for each `go`, timed, until the job's steps are done.

    Reported as `tokens` are those of the rows as the rival would count them (a prompt once per completion), as `slots`
    those that really went through the model.
    """
    for number in range(job["steps"]):
        if sys.stdin.readline().strip() != "go":
            return
        begun = time.perf_counter()
        batch = groups[number * job["batch"] : (number + 1) * job["batch"]]
        values, slots = step(number, batch)
        seconds = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        tokens = sum(len(group.prompt) + len(one) for group in batch for one in group.completions)
        seen = {"seconds": seconds, "loss": values["loss"], "tokens": tokens, "slots": slots, "peak_gb": peak}
        print(json.dumps(seen), flush=True)
