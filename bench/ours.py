"""Our side of a bench as a worker: a model with adapters, and an optimiser step per `go` line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resident import GB, peak, resting


@dataclass
class Ours:
    """What a step needs. `forward` gives log-probs, or rewards."""

    forward: Any
    optimizer: Any
    settings: Any
    total: int

    def step(self, objective: Any, batch: Sequence[Any], number: int) -> tuple[float, int]:
        """(loss, tokens that really went through the model) of the training loop's own step."""
        from charter.training.devices import here
        from charter.training.loop import _step

        values, _ = _step(self.forward, objective, batch, self.optimizer, self.settings, number, self.total, here())
        return values["loss"], self.tokens_run(batch)

    def reference(self, batch: Sequence[Any]) -> dict[str, Any]:
        """Per key, the log-probs of the completions with the adapter off."""
        from charter.training.scoring import logprob_sums

        with self.forward.base():
            return logprob_sums(self.forward, batch, self.settings.row_tokens)

    def tokens_run(self, batch: Sequence[Any]) -> int:
        """Tokens that one forward pass over a batch takes."""
        from charter.training.layout import Row, pack

        return sum(Row([batch[i] for i in row]).tokens for row in pack(batch, self.settings.row_tokens))


def load_job(file: str) -> dict[str, Any]:
    """What this worker was told."""
    job: dict[str, Any] = json.loads(Path(file).read_text())
    return job


def settings_of(kind: Any, job: dict[str, Any], **more: Any) -> Any:
    """A method's settings as both sides have them: a constant rate, no warm-up, no decay."""
    return kind(
        learning_rate=job["learning_rate"], warmup=0, schedule="constant", batch_size=job["batch"],
        row_tokens=job["row_tokens"], gradient_checkpointing=job["checkpointing"], **more,
    )  # fmt: skip


def prepare(job: dict[str, Any], settings: Any, *, rewards: bool = False) -> Ours:
    """Load the model, put the adapters on, write them down for the rival, and say how large everything is.

    rewards: read rewards with a fresh head, which is written down and trained too, in place of log-probs.
    """
    import torch
    from safetensors.torch import save_file

    from charter.models.loading import load_model
    from charter.models.lora import LoraSettings, add_lora
    from charter.models.reward_head import new_head
    from charter.training.logprobs import CompletionLogprobs
    from charter.training.optimizer import MasterAdamW
    from charter.training.rewards import CompletionRewards

    torch.manual_seed(0)
    model: Any = add_lora(load_model(job["model"], job["dtype"]).model, LoraSettings(r=job["r"], alpha=job["alpha"]), 0)
    head = model.get_output_embeddings().weight
    start = {name: p.detach().clone() for name, p in model.named_parameters() if "lora_" in name}
    if rewards:
        reward_head = new_head(head.shape[1], 1, 0, "reward", bias=False)
        start["score"] = reward_head.weight.detach().clone()
        forward: Any = CompletionRewards(model, reward_head)
    else:
        forward = CompletionLogprobs(model)
    save_file(start, job["adapter"])
    forward.train()
    forward.checkpoint_gradients(settings.gradient_checkpointing)
    body = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "base_layer" in n)
    trained = [p for p in forward.parameters() if p.requires_grad]
    rest = resting(model) / GB
    optimizer = MasterAdamW(trained, betas=settings.betas, eps=settings.eps, weight_decay=0.0)
    hello = {
        "about": f"adapters {job['dtype']}, fp32 masters, checkpointing {settings.gradient_checkpointing}",
        "shape": [body, 0 if rewards else head.numel(), sum(p.numel() for p in trained)],
        "resting_gb": rest,
    }
    print(json.dumps(hello), flush=True)
    return Ours(forward, optimizer, settings, job["steps"])


@dataclass(frozen=True)
class Step:
    """What a step did: its loss, and the tokens that it ran with a backward pass, and without."""

    loss: float
    slots: int
    forward_slots: int = 0


def take_steps(job: dict[str, Any], groups: Sequence[Any], step: Callable[[int, Sequence[Any]], Step]) -> None:
    """Run `step(number, batch)` for each `go`, timed, until the job's steps are done.

    Reported as `tokens` are those of the rows as the rival would count them (a prompt once per completion).
    """
    for number in range(job["steps"]):
        if sys.stdin.readline().strip() != "go":
            return
        begun = time.perf_counter()
        batch = groups[number * job["batch"] : (number + 1) * job["batch"]]
        done = step(number, batch)
        seconds = time.perf_counter() - begun
        tokens = sum(len(group.prompt) + len(one) for group in batch for one in group.completions)
        told = {"seconds": seconds, "loss": done.loss, "tokens": tokens, "peak_gb": peak() / GB}
        print(json.dumps({**told, "slots": done.slots, "forward_slots": done.forward_slots}), flush=True)
